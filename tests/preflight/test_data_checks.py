"""Every kind of defect, put into a drawn data set one at a time: it is found, and nothing else."""

import json

import mask_defects  # noqa: F401 (registers its defects)
import numpy as np
import pytest
from annotation_defects import image_of_annotation_absent
from conftest import CONFIGS, REAL_DATA, REPO
from drawn_case import DEFECTS, SIDE, SPLITS, as_png, set_orientation, stretched
from file_defects import category_id_twice
from image_defects import image_gone, jpeg_cut_short, link_out_of_the_root
from mmdet.utils import register_all_modules
from mmengine.config import Config
from PIL import Image

from fishnet_mmdet.preflight import KINDS, PreflightError, check, examine

register_all_modules(init_default_scope=True)
WHERE = {'train': 'train', 'val': 'val, test'}


@pytest.mark.parametrize('name', DEFECTS)
def test_a_defect_is_found_and_nothing_else(make_case, name):
    kind, spoil, split, seed = DEFECTS[name]
    case = make_case(seed, split)
    image, annotation = spoil(case)
    case.write()
    report = examine(case.cfg, SPLITS, weights=False)
    assert [(f.kind, f.where, f.image, f.annotation) for f in report.findings] == [
        (kind, WHERE[split], image, annotation)
    ]
    assert f'[{kind}]' in report.text() and report.text().replace('\n', '').isprintable()
    assert bool(report.errors) == KINDS[kind].stops


def test_all_kinds_have_a_defect():
    elsewhere = {
        'weights',
        'folders',
        'classes-of-splits',
        'evaluator-images',
        'images-enlarged',
        *('figure-missing', 'figures-twice', 'parts-missing', 'package-missing', 'setting-invalid', 'no-effect'),
    }  # tested below and in other files
    assert {kind for kind, *_ in DEFECTS.values()} | elsewhere == set(KINDS)
    assert len(DEFECTS) >= 60


def test_the_documentation_lists_every_kind():
    rows = [row.split('|') for row in (REPO / 'docs/data-checks.md').read_text().splitlines() if row.startswith('| `')]
    listed = {name.strip(' `'): row[2].strip() for row in rows for name in row[1].split(',')}
    marks = {
        kind: 'error, skips' if it.drops else 'error, renumbers' if it.renumbers else 'error' if it.stops else 'warning'
        for kind, it in KINDS.items()
    }
    assert listed == marks


def test_all_defects_come_in_one_report(make_case):
    case = make_case()
    expected = []
    for seed, (kind, spoil) in enumerate(
        [
            ('image-missing', image_gone),
            ('image-absent', image_of_annotation_absent),
            ('category-twice', category_id_twice),
            ('image-truncated', jpeg_cut_short),
        ]
    ):
        case.rng = np.random.default_rng(seed + 2)
        expected.append((kind, *spoil(case)))
    case.write()
    with pytest.raises(PreflightError) as error:
        check(case.cfg, SPLITS, weights=False)
    found = [(f.kind, f.image, f.annotation) for f in examine(case.cfg, SPLITS, weights=False).findings]
    assert sorted(found, key=str) == sorted(expected, key=str)
    for kind, image, _ in expected:
        assert f'[{kind}]' in str(error.value)
        assert image is None or f'image {image}:' in str(error.value)


def test_long_lists_are_cut_and_counted(make_case):
    case = make_case()
    for image in case.images:
        case.path(image).unlink()
    report = examine(case.cfg, ['train'], weights=False)
    assert len(report.findings) == 8 and '... and 3 more' in report.text()
    assert len(report.as_json()['findings']) == 8


class TestTogether:
    """Two files, or two parts of a config, that do not match."""

    def test_an_evaluator_of_other_images(self, make_case):
        case = make_case(split='val')
        other = json.loads(json.dumps(case.data['val']))
        for number, image in enumerate(other['images']):
            image['id'] = 100 + number
        for row in other['annotations']:
            row['image_id'] += 99
        path = case.root / 'annotations/other.json'
        path.write_text(json.dumps(other))
        for split in ('val', 'test'):
            case.cfg[f'{split}_evaluator'].ann_file = str(path)
        report = examine(case.cfg, SPLITS, weights=False)
        assert [(f.kind, f.where) for f in report.findings] == [('evaluator-images', 'val, test evaluator')] * 2
        assert '1, 2, 3, 4' in report.text() and '100, 101, 102, 103' in report.text()

    def test_an_evaluator_of_two_loaders_together(self, make_case):
        case = make_case()
        whole, parts = case.data['val'], []
        for number in range(2):
            images = whole['images'][2 * number : 2 * number + 2]
            ids = {image['id'] for image in images}
            part = {**whole, 'images': images}
            part['annotations'] = [row for row in whole['annotations'] if row['image_id'] in ids]
            (case.root / f'annotations/part_{number}.json').write_text(json.dumps(part))
            parts.append({**case.loader('val'), 'ann_file': f'annotations/part_{number}.json'})
        case.cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)
        assert not examine(case.cfg, ['train', 'val'], weights=False).findings
        case.cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=parts[:1])
        crowds, finding = examine(case.cfg, ['train', 'val'], weights=False).findings
        # The only disc of the first part is a crowd.
        assert (crowds.kind, crowds.detail[:4]) == ('class-without-objects', 'disc')
        assert finding.kind == 'evaluator-images' and '2 images of the evaluator' in finding.detail

    def test_an_evaluator_of_other_classes(self, make_case):
        case = make_case()
        other = json.loads(json.dumps(case.data['val']))
        other['categories'].reverse()
        path = case.root / 'annotations/other.json'
        path.write_text(json.dumps(other))
        case.cfg.val_evaluator.ann_file = str(path)
        (finding,) = examine(case.cfg, ['train', 'val'], weights=False).findings
        assert (finding.kind, finding.where, finding.file) == ('classes-order', 'val evaluator', str(path))

    def test_an_evaluator_that_is_a_link_to_the_same_file(self, make_case):
        case = make_case()
        path = case.root / 'annotations/other.json'
        path.symlink_to(case.root / 'annotations/instances_val.json')
        case.cfg.val_evaluator.ann_file = str(path)
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_a_missing_file_of_the_evaluator_alone(self, make_case):
        case = make_case()
        case.cfg.val_evaluator = [dict(type='OfficialCocoMetric', ann_file='nowhere.json')]
        (finding,) = examine(case.cfg, ['train', 'val'], weights=False).findings
        assert finding.kind == 'data-missing' and 'nowhere.json' in finding.detail

    def test_splits_of_other_classes(self, make_case):
        case = make_case()
        case.cfg.ignored_classes = ('triangle',)
        case.loader('train').metainfo.classes = ('disc', 'box')
        kinds = {f.kind for f in examine(case.cfg, ['train', 'val'], weights=False).findings}
        assert 'classes-of-splits' in kinds

    def test_masks_are_judged_only_where_they_are_read(self, make_case):
        case = make_case()
        for data in case.data.values():
            for row in data['annotations']:
                del row['segmentation']
        case.write()
        for split in SPLITS:
            for step in case.loader(split).pipeline:
                step.pop('with_mask', None)
        for split in ('val', 'test'):
            case.cfg[f'{split}_evaluator'].metric = 'bbox'
        assert not examine(case.cfg, SPLITS, weights=False).findings
        case.cfg.val_evaluator.metric = ['bbox', 'segm']
        kinds = {(f.kind, f.where) for f in examine(case.cfg, SPLITS, weights=False).findings}
        assert kinds == {('mask-missing', 'val, test')}

    def test_images_to_be_written_only_need_no_annotations(self, make_case):
        case = make_case()
        del case.data['val']['annotations']
        case.write()
        for split in ('val', 'test'):
            case.cfg[f'{split}_evaluator'].format_only = True
        assert not examine(case.cfg, SPLITS, weights=False).findings


class TestNoFalseAlarm:
    @pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'LA', '1'])
    def test_images_of_other_kinds(self, make_case, mode):
        case = make_case()
        as_png(case, mode)
        case.write()
        assert not examine(case.cfg, SPLITS, weights=False).findings

    @pytest.mark.parametrize('kind', ['webp', 'bmp', 'tiff', 'gif', 'jp2', 'ppm'])
    def test_other_formats_under_a_jpeg_name(self, make_case, kind):
        case = make_case()
        path = case.path(case.image())
        Image.open(path).save(path.with_suffix(f'.{kind}'))
        path.with_suffix(f'.{kind}').rename(path)
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_jpegs_of_other_kinds(self, make_case):
        case = make_case()
        for image, how in zip(
            case.images, ('grey', 'cmyk', 'progressive', 'trailing', 'exif', 'link', 'linked'), strict=False
        ):
            path = case.path(image)
            picture = Image.open(path)
            picture.load()
            if how == 'grey':
                picture.convert('L').save(path)
            elif how == 'cmyk':
                picture.convert('CMYK').save(path)
            elif how == 'progressive':
                picture.save(path, progressive=True)
            elif how == 'trailing':
                path.write_bytes(path.read_bytes() + b'\0' * 100)
            elif how == 'exif':
                set_orientation(path, 1)
            else:
                target = case.root / f'{how}.jpg'
                path.rename(target)
                path.symlink_to(target)
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_turned_images_annotated_as_they_are_read(self, make_case):
        case = make_case()
        image = stretched(case)
        stored = Image.open(case.path(image)).transpose(Image.Transpose.ROTATE_90)
        stored.save(case.path(image))
        set_orientation(case.path(image), 6)
        case.write()
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_readers_that_do_not_turn(self, make_case):
        case = make_case()
        image = stretched(case)
        set_orientation(case.path(image), 6)
        case.write()
        case.loader().pipeline[0].color_type = 'color_ignore_orientation'
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_a_folder_that_is_a_link(self, make_case):
        case = make_case()
        (case.root / 'train').rename(case.root.parent / 'disk')
        (case.root / 'train').symlink_to(case.root.parent / 'disk')
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_links_to_a_folder_that_is_trusted(self, make_case):
        case = make_case()
        link_out_of_the_root(case)
        case.cfg.preflight = dict(trusted_folders=[str(case.root.parent)])
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_ids_that_are_texts_or_begin_at_zero(self, make_case):
        case = make_case()
        for row in (*case.images, *case.annotations):
            row['id' if 'width' in row else 'image_id'] = f'name {row.get("image_id", row["id"])}'
        for row in case.data['train']['categories']:
            row['id'] -= 1
        for row in case.annotations:
            row['category_id'] -= 1
        case.annotations[0]['id'] = 0
        case.write()
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_boxes_a_pixel_over_the_edge_and_uncompressed_masks(self, make_case):
        case = make_case()
        row = case.annotation()
        row['bbox'] = [0, 0, SIDE + 1, 2]
        row['segmentation'] = dict(size=[SIDE, SIDE], counts=[0] + [2, SIDE - 2] * SIDE)
        case.write()
        assert not examine(case.cfg, SPLITS, weights=False).findings

    @pytest.mark.parametrize('name', ['mask_rcnn_fishnet150_fpn', 'faster_rcnn_r50_fpn'])
    @pytest.mark.skipif(not (REAL_DATA / 'coco_mini').is_dir(), reason='no real COCO images here')
    def test_coco(self, name, monkeypatch):
        monkeypatch.setenv('COCO_ROOT', str(REAL_DATA / 'coco_mini'))
        report = examine(Config.fromfile(CONFIGS / f'{name}.py'), SPLITS, weights=False)
        assert not report.findings and len(report.checked) == 2

    @pytest.mark.skipif(not (REAL_DATA / 'nuclei').is_dir(), reason='no real nuclei here')
    def test_nuclei(self):
        cfg = Config.fromfile(CONFIGS / 'mask_rcnn_fishnet_demo.py')
        for split in SPLITS:
            part = 'train' if split == 'train' else 'val'
            cfg[f'{split}_dataloader'].dataset.update(
                data_root=str(REAL_DATA / 'nuclei'),
                metainfo=dict(classes=('nucleus',)),
                ann_file=f'annotations/instances_{part}.json',
                data_prefix=dict(img=f'{part}/'),
            )
            if split != 'train':
                cfg[f'{split}_evaluator'].ann_file = str(REAL_DATA / 'nuclei/annotations/instances_val.json')
        assert not examine(cfg, SPLITS, weights=False).findings
