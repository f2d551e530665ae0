"""Configs and files that others write: mmdet's own classes, exports of tools, wrappers."""

import json
import os
from copy import deepcopy

import mmcv
import pytest
from drawn_case import SPLITS, corners
from in_process import run_here
from mmdet.utils import register_all_modules
from mmengine.config import Config
from PIL import Image

from fishnet_mmdet.evaluation.coco_eval import load_annotations
from fishnet_mmdet.evaluation.metric import OfficialCocoMetric
from fishnet_mmdet.preflight import PreflightError, examine

register_all_modules(init_default_scope=True)


def kinds(case, splits=('train', 'val')):
    case.write()
    return [(f.kind, f.where) for f in examine(case.cfg, splits, weights=False).findings]


class TestFormats:
    """A foreign format is reported, and stops nothing."""

    def test_lvis(self, make_case):
        case = make_case(split='val')
        for image in case.images:
            image['coco_url'] = 'http://images.cocodataset.org/val2017/' + image.pop('file_name')
        for row in case.annotations:
            del row['iscrowd']
        case.loader().type = 'LVISV1Dataset'
        case.cfg.val_evaluator.type = 'LVISMetric'
        assert kinds(case) == [('not-checked', 'val'), ('not-checked', 'val evaluator')]

    def test_crowdhuman(self, make_case):
        case = make_case()
        (case.root / 'val.odgt').write_text('{"ID": "x", "gtboxes": []}\n{"ID": "y", "gtboxes": []}\n')
        case.loader('val').update(type='CrowdHumanDataset', ann_file='val.odgt')
        case.cfg.val_evaluator = dict(type='CrowdHumanMetric', ann_file=str(case.root / 'val.odgt'))
        assert kinds(case) == [('not-checked', 'val'), ('not-checked', 'val evaluator')]

    @pytest.mark.parametrize('key', ['backend_args', 'file_client_args'])
    def test_images_in_a_data_base_and_annotations_on_the_disk(self, make_case, key):
        """The annotations are checked, and neither images nor their folder are missed."""
        case = make_case()
        node = case.loader()
        node.data_prefix = dict(img='keys_of_the_data_base/')
        node.pipeline[0][key] = dict(backend='lmdb', db_path='images.lmdb')
        assert kinds(case) == [('not-checked', 'train')]
        case.annotations[0]['bbox'][2] = -5
        assert ('box-negative', 'train') in kinds(case)

    @pytest.mark.parametrize('backend', ['local', 'disk', 'atomic'])
    def test_the_disk_by_name(self, make_case, backend):
        case = make_case()
        case.loader().backend_args = case.cfg.val_evaluator.backend_args = dict(backend=backend)
        case.path(case.image()).unlink()
        case.cfg.val_evaluator.ann_file = str(case.root / 'none.json')
        assert kinds(case) == [('data-missing', 'val evaluator'), ('image-missing', 'train')]

    def test_an_evaluator_that_reads_elsewhere(self, make_case):
        case = make_case()
        case.cfg.val_evaluator.ann_file = 's3://bucket/val.json'
        assert kinds(case) == [('not-checked', 'val evaluator')]

    def test_images_that_only_xmp_turns(self, make_case):
        """Pillow would turn them, mmcv does not."""
        case = make_case()
        path = case.path(case.image())
        note = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
        before = mmcv.imread(path).shape
        Image.open(path).save(path, 'JPEG', xmp=note)
        assert mmcv.imread(path).shape == before and kinds(case) == []

    def test_a_pipe_for_annotations(self, make_case):
        case = make_case()
        os.mkfifo(case.root / 'pipe.json')
        case.loader().ann_file = 'pipe.json'
        assert kinds(case) == [('file-broken', 'train')]


class TestWrappers:
    def test_each_metric_of_several_data_sets_judges_its_own(self, make_case):
        case = make_case(split='val')
        other = deepcopy(case.data['val'])
        for entry in (*other['images'], *other['annotations']):
            entry['image_id' if 'bbox' in entry else 'id'] += 100
        (case.root / 'annotations/other.json').write_text(json.dumps(other))
        files = [f'annotations/{name}.json' for name in ('instances_val', 'other')]
        data = [{**case.loader(), 'ann_file': file} for file in files]
        case.cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=data)
        metrics = [dict(type='OfficialCocoMetric', ann_file=str(case.root / file)) for file in files]
        case.cfg.val_evaluator = dict(
            type='MultiDatasetsEvaluator', metrics=metrics, dataset_prefixes=['first', 'second']
        )
        assert kinds(case) == []
        case.cfg.val_evaluator.metrics = metrics[::-1]
        assert kinds(case) == [('evaluator-images', 'val evaluator')] * 4

    def test_several_data_sets_may_have_classes_of_their_own(self, make_case):
        """As ODinW does, in the test. An evaluator with the file of other classes is still found."""
        case = make_case(split='val')
        other = deepcopy(case.data['val'])
        for category in other['categories']:
            category['name'] = f'night {category["name"]}'
        (case.root / 'annotations/other.json').write_text(json.dumps(other))
        files = [f'annotations/{name}.json' for name in ('instances_val', 'other')]
        classes = [tuple(c['name'] for c in data['categories']) for data in (case.data['val'], other)]
        data = [
            {**case.loader(), 'ann_file': file, 'metainfo': dict(classes=names)}
            for file, names in zip(files, classes, strict=True)
        ]
        case.cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=data)
        metrics = [dict(type='OfficialCocoMetric', ann_file=str(case.root / file)) for file in files]
        case.cfg.val_evaluator = dict(type='MultiDatasetsEvaluator', metrics=metrics, dataset_prefixes=['day', 'night'])
        assert kinds(case) == []
        case.cfg.val_evaluator.metrics = metrics[::-1]
        assert kinds(case) == [('classes-differ', 'val evaluator')] * 2

    def test_a_part_without_labels(self, make_case):
        case = make_case()
        bare = {**case.data['train'], 'annotations': []}
        (case.root / 'annotations/bare.json').write_text(json.dumps(bare))
        steps = [dict(type='LoadImageFromFile'), dict(type='LoadEmptyAnnotations')]
        unlabelled = {**case.loader(), 'ann_file': 'annotations/bare.json', 'pipeline': steps}
        both = [case.loader(), {**unlabelled, 'filter_cfg': dict(filter_empty_gt=False)}]
        case.cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=both)
        assert kinds(case) == []


class TestClasses:
    def test_a_file_of_names(self, make_case, tmp_path):
        case = make_case()
        names = case.loader().metainfo.classes
        (tmp_path / 'names.txt').write_text('\n'.join(names))
        case.loader().metainfo.classes = str(tmp_path / 'names.txt')
        assert kinds(case) == []

    def test_one_name_without_a_comma(self, make_case):
        case = make_case()
        case.loader().metainfo.classes = 'disc'
        case.cfg.ignored_classes = ('box', 'triangle')
        report = examine(case.cfg, ['train'], weights=False)
        assert {f.kind for f in report.errors} == {'classes-differ'} and "classes=('disc',)" in report.text()

    def test_one_ignored_class_without_a_comma(self, make_case):
        case = make_case()
        for split in SPLITS:
            case.loader(split).metainfo.classes = ('disc', 'box')
        case.cfg.ignored_classes = 'triangle'
        assert kinds(case) == []


class TestWhatIsNeverRead:
    """An object that MMDetection leaves out needs no mask."""

    def spoilt(self, case):
        row = case.annotation()
        row['segmentation'] = []
        return row

    @pytest.mark.parametrize(
        'change, kind',
        [
            (dict(ignore=1), []),
            (dict(area=0), ['area-empty']),
            (dict(bbox=[3, 3, 0, 0]), ['box-tiny']),
            (dict(), ['mask-missing']),
        ],
    )
    def test_in_training(self, make_case, change, kind):
        case = make_case()
        self.spoilt(case).update(change)
        assert kinds(case) == [(name, 'train') for name in kind]

    def test_of_a_class_that_is_left_out(self, make_case):
        case = make_case()
        rows = [row for row in case.annotations if row['category_id'] == 3]
        for row in rows:
            row.update(segmentation=[], bbox=[5, 5, -2.0, 3])
        for split in SPLITS:
            case.loader(split).metainfo.classes = ('disc', 'box')
        case.cfg.ignored_classes = ('triangle',)
        assert rows and kinds(case) == []

    def test_where_results_are_judged_it_counts(self, make_case):
        case = make_case(split='val')
        self.spoilt(case)['ignore'] = 1
        assert kinds(case) == [('mask-missing', 'val')]


class TestImagesOfALoader:
    """AP over images that nobody looked at is too low, and nothing says so."""

    @pytest.mark.parametrize(
        'change', [dict(indices=2), dict(indices=-3), dict(indices=[0, 2])], ids=['first', 'last', 'some']
    )
    def test_a_part_of_the_evaluators_images(self, make_case, change):
        case = make_case(split='val')
        case.loader().update(change)
        (finding,) = examine(case.cfg, ['train', 'val'], weights=False).findings
        left = len(case.images) - (abs(change['indices']) if isinstance(change['indices'], int) else 2)
        assert finding.kind == 'evaluator-images'
        assert finding.detail.startswith(f'{left} images of the evaluator are not in the loader')

    def test_a_filter_in_validation(self, make_case):
        case = make_case(split='val')
        gone = case.images[1]['id']
        case.data['val']['annotations'] = [row for row in case.annotations if row['image_id'] != gone]
        case.loader().update(test_mode=False, filter_cfg=dict(filter_empty_gt=True))
        assert kinds(case) == [('evaluator-images', 'val evaluator')]

    def test_no_folder_is_named(self, make_case):
        case = make_case()
        del case.loader()['data_prefix']
        for image in case.images:
            image['file_name'] = f'train/{image["file_name"]}'
        assert kinds(case) == [('data-missing', 'train')]

    def test_a_path_that_comes_back_into_the_data_root(self, make_case):
        case = make_case()
        image = case.image()
        image['file_name'] = str(case.path(image))
        case.images[0 if image is not case.images[0] else 1]['file_name'] = '../train/000003.jpg'
        assert kinds(case) == []

    @pytest.mark.parametrize('opened', [True, False])
    def test_a_path_out_of_it_is_reported_unopened(self, make_case, opened):
        case = make_case()
        case.image()['file_name'] = '/etc/passwd'
        case.cfg.preflight = dict(images=opened)
        assert kinds(case) == [('path-escapes', 'train')]


class TestTheMetricAgrees:
    """What is a warning before the training does not stop the metric from being built."""

    def test_polygons(self, make_case):
        case = make_case(split='val')
        case.annotation(polygon=True)['segmentation'].append([1, 2, 3, 4])
        row = case.annotations[-1]
        row['bbox'] = [3, 3, 93, 93]
        row['segmentation'] = [corners(row['bbox']), [3, 3, 9, 3, 9, 96 + 90]]
        case.write()
        report = examine(case.cfg, ['train', 'val'], weights=False)
        assert not report.errors and report.findings
        OfficialCocoMetric(ann_file=case.cfg.val_evaluator.ann_file, metric=['bbox', 'segm'])

    def test_images_without_annotations_are_written_up(self, make_case):
        case = make_case(split='val')
        del case.data['val']['annotations']
        case.write()
        OfficialCocoMetric(ann_file=case.cfg.val_evaluator.ann_file, format_only=True, outfile_prefix='x')


def test_a_zigzag_is_refused_before_pycocotools_draws_it(make_case, tmp_path):
    case = make_case(split='val')
    case.annotation(polygon=True)['segmentation'] = [[0, 0, 96, 96] * 100_000]
    case.write()
    path = case.root / 'annotations/instances_val.json'
    assert load_annotations(path).anns
    (tmp_path / 'none.json').write_text('[]')
    done = run_here('tools/eval_results.py', path, tmp_path / 'none.json', '--iou-type', 'segm')
    assert done.returncode == 1 and 'pixels' in done.stderr


@pytest.mark.parametrize(
    'name, content',
    [
        ('part.py', 'train_dataloader = dict()'),
        ('broken.py', 'model = dict('),
        ('empty.json', ''),
        ('notes.txt', 'model'),
    ],
)
def test_files_that_are_no_configs(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    done = run_here('tools/check_data.py', tmp_path / name, cwd=tmp_path)
    assert done.returncode == 1 and name in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith('error: ')


@pytest.mark.parametrize('name, content', [('part.py', 'train_dataloader = dict()'), ('broken.py', 'model = dict(')])
def test_training_refuses_them_too(run_tool, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    done = run_tool('tools/train.py', tmp_path / name, cwd=tmp_path)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith('error: ') and name in done.stderr


def test_preflight_may_be_null(make_case):
    case = make_case()
    case.cfg.preflight = None
    assert kinds(case) == []
    with pytest.raises(PreflightError, match='has no model'):
        examine(Config({'train_dataloader': {}}), ['train'], weights=False)
