"""Configs for one's own data: found, divided, decided, written, built, trained."""

import json
import os
import sys

import new_on_nuclei
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from own_data import coco, write_coco, write_image, write_voc, write_yolo

from fishnet_mmdet import UserError
from fishnet_mmdet.commands import run_command
from fishnet_mmdet.preflight import examine
from fishnet_mmdet.project.new import new_config
from fishnet_mmdet.project.new.machine import GIB, Machine

CPU = Machine(None, 8 * GIB, 2)
GPU = Machine('a GPU', 24 * GIB, 16)
NAMES = [f'{number}.jpg' for number in range(10)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test runs in an empty folder, as a user would."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def usual(here):
    """The usual form: a file and an image folder for each split."""
    write_coco(here / 'data/annotations/instances_train.json', here / 'data/train', coco(NAMES[:6]))
    write_coco(here / 'data/annotations/instances_val.json', here / 'data/val', coco(NAMES[:2]))
    return here / 'data'


def make(data='data', **settings):
    """The config of a folder, read back, and what was chosen by name."""
    made = new_config(data, 'fishnet99', 'my.py', **{'machine': CPU, 'from_scratch': True, **settings})
    assert made.report.errors == []
    return Config.fromfile('my.py'), {choice.name: choice for choice in made.choices}


def build(cfg):
    """The model and both data sets of a config, as a run builds them."""
    init_default_scope('mmdet')
    cfg = cfg.copy()
    cfg.model.backbone.arch = dict(base='fishnet99', width=0.25)
    cfg.model.neck.in_channels = [channels // 4 for channels in cfg.model.neck.in_channels]
    model = MODELS.build(cfg.model)
    train, val = (DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'val'))
    assert train[0]['inputs'].ndim == val[0]['inputs'].ndim == 3
    return model, train, val


class TestFinds:
    def test_the_usual_form(self, usual):
        cfg, chosen = make()
        model, train, val = build(cfg)
        assert (len(train), len(val)) == (6, 2) and model.with_mask
        assert train.metainfo['classes'] == ('disc', 'box')
        assert chosen['train'].value == 'data/annotations/instances_train.json'
        assert cfg.train_dataloader.dataset.data_prefix.img == 'data/train/'
        assert cfg.val_dataloader.dataset.data_prefix.img == 'data/val/'

    def test_the_form_of_roboflow(self, here):
        """Files of the same name beside the images, and boxes without masks."""
        for split, count in (('train', 4), ('valid', 2), ('test', 1)):
            folder = here / 'data' / split
            write_coco(folder / '_annotations.coco.json', folder, coco(NAMES[:count], masks='none'))
        cfg, chosen = make()
        model, train, val = build(cfg)
        assert (len(train), len(val)) == (4, 2) and not model.with_mask
        assert chosen['detector'].value == 'Faster R-CNN'
        assert cfg.val_evaluator.metric == 'bbox'

    def test_nested_folders_and_letters_of_other_alphabets(self, here):
        names = [f'été/{i}/фото {i}.jpg' for i in range(4)]
        classes = ("l'œuf", '細胞')
        write_coco(here / 'дані 1/a/b/Training set.json', here / 'дані 1/c/d', coco(names, classes))
        write_coco(here / 'дані 1/a/b/validation.json', here / 'дані 1/c/d', coco(names[:2], classes))
        cfg, _ = make('дані 1')
        _, train, val = build(cfg)
        assert (len(train), len(val)) == (4, 2) and train.metainfo['classes'] == classes

    def test_odd_names_have_to_be_named(self, usual, here):
        for old, new in (('instances_train', 'first'), ('instances_val', 'second')):
            (usual / f'annotations/{old}.json').rename(usual / f'annotations/{new}.json')
        with pytest.raises(UserError, match=r'annotations/first.json, annotations/second.json.*--train FILE --val'):
            make()
        arguments = ['--data', 'data', '--train', 'annotations/first.json', '--val', 'data/annotations/second.json']
        assert run_command('new', [*arguments, '--arch', '99', '--from-scratch', '-o', 'my.py']) == 0
        cfg = Config.fromfile('my.py')
        # Both folders hold 0.jpg: the split decides.
        assert cfg.train_dataloader.dataset.data_prefix.img == 'data/train/'
        assert cfg.val_dataloader.dataset.data_prefix.img == 'data/val/'
        assert cfg.val_dataloader.dataset.ann_file == 'data/annotations/second.json'

    def test_files_that_are_no_annotations_are_left_out(self, usual):
        (usual / 'train_log.json').write_text('{"loss": 1}')
        (usual / 'train_empty.json').write_text('')
        keypoints = coco(NAMES[:6])
        keypoints['annotations'][0]['keypoints'] = [1, 2, 2]
        (usual / 'annotations/person_keypoints_train.json').write_text(json.dumps(keypoints))
        assert make()[1]['train'].value == 'data/annotations/instances_train.json'

    @pytest.mark.skipif(not hasattr(os, 'symlink'), reason='no links')
    def test_a_link_that_leads_back(self, usual):
        os.symlink(usual, usual / 'train/again')
        os.symlink('/nowhere', usual / 'train/gone')
        assert make()[1]['train'].value == 'data/annotations/instances_train.json'


class TestSplits:
    def test_one_file_is_divided(self, here):
        content = coco(NAMES)
        write_coco(here / 'data/labels_my-project.json', here / 'data', content)
        before = (here / 'data/labels_my-project.json').read_bytes()
        cfg, chosen = make()
        _, train, val = build(cfg)
        assert (len(train), len(val)) == (8, 2)
        assert 'my_annotations/train.json and my_annotations/val.json' in chosen['split'].value
        images = [{i['file_name'] for i in json.loads((here / f'my_annotations/{s}.json').read_text())['images']}
                  for s in ('train', 'val')]  # fmt: skip
        assert images[0] | images[1] == set(NAMES) and not images[0] & images[1]
        assert (here / 'data/labels_my-project.json').read_bytes() == before
        val_file = (here / 'my_annotations/val.json').read_bytes()
        make(overwrite=True)
        assert (here / 'my_annotations/val.json').read_bytes() == val_file

    def test_files_of_the_user_are_never_replaced(self, here):
        write_coco(here / 'data/all.json', here / 'data', coco(NAMES))
        (here / 'my_annotations').mkdir()
        (here / 'my_annotations/train.json').write_text('mine')
        with pytest.raises(UserError, match='is not a file of `fishnet-mmdet new`'):
            make(overwrite=True)
        assert (here / 'my_annotations/train.json').read_text() == 'mine'
        assert not (here / 'my.py').exists()

    def test_the_files_of_an_earlier_call_are_not_the_data(self, here):
        """The user's file has a class more the second time."""
        file = here / 'data/all.json'
        write_coco(file, here / 'data', coco(NAMES))
        for classes in (('disc', 'box'), ('disc', 'box', 'bar')):
            file.write_text(json.dumps(coco(NAMES, classes)))
            new_config('data', 'fishnet99', 'data/my.py', from_scratch=True, overwrite=True)
            cfg = Config.fromfile('data/my.py')
            assert cfg.train_dataloader.dataset.metainfo.classes == classes

    def test_a_validation_file_without_objects_is_reported(self, here, capsys):
        """And not passed over, with a part of the training file in its place."""
        write_coco(here / 'data/val.json', here / 'data', {**coco(NAMES[6:]), 'annotations': []})
        write_coco(here / 'data/train.json', here / 'data', coco(NAMES[:6]))
        assert run_command('new', ['--data', 'data', '--from-scratch', '-o', 'my.py']) == 1
        assert 'error [no-objects] val' in capsys.readouterr().out

    @pytest.mark.parametrize('field', ['id', 'image_id', 'category_id'])
    @pytest.mark.parametrize('value', [None, [1]])
    def test_ids_that_cannot_be_used_get_the_report(self, here, capsys, field, value):
        content = coco(NAMES)
        entry = content['images' if field == 'id' else 'annotations'][0]
        entry[field] = value
        write_coco(here / 'data/all.json', here / 'data', content)
        assert run_command('new', ['--data', 'data', '--from-scratch', '-o', 'my.py']) == 1
        out = capsys.readouterr().out
        assert 'preflight: ' in out and 'wrote my.py' in out

    def test_a_class_order_that_skip_bad_cannot_fix(self, usual, capsys):
        path = usual / 'annotations/instances_val.json'
        content = json.loads(path.read_text())
        content['categories'].reverse()
        path.write_text(json.dumps(content))
        assert run_command('new', ['--data', 'data', '--from-scratch', '-o', 'my.py']) == 1
        out = capsys.readouterr().out
        assert 'classes-order' in out and '--skip-bad' not in out.splitlines()[-1]

    def test_a_file_whose_name_says_nothing_is_not_passed_over(self, usual, here):
        write_coco(usual / 'annotations/cells_holdout.json', usual / 'val', coco(NAMES[:2]))
        with pytest.raises(UserError, match='cells_holdout.json.*Name them: --train FILE --val FILE'):
            make()

    def test_one_tiny_image(self, here):
        write_coco(here / 'data/all.json', here / 'data', coco(NAMES[:1], size=(32, 32)), size=(32, 32))
        _, chosen = make()
        assert chosen['image scale'].value == '64 x 64'

    def test_one_image(self, here):
        write_coco(here / 'data/all.json', here / 'data', coco(NAMES[:1]))
        cfg, chosen = make()
        _, train, val = build(cfg)
        assert len(train) == len(val) == 1 and cfg.train_dataloader.batch_size == 1
        assert chosen['validation'].value == 'on the training images'

    def test_one_image_without_objects(self, here, capsys):
        write_coco(here / 'data/all.json', here / 'data', {**coco(NAMES[:1]), 'annotations': []})
        assert run_command('new', ['--data', 'data', '--from-scratch', '-o', 'my.py']) == 1
        assert 'error [no-objects] train' in capsys.readouterr().out

    def test_a_rare_class_is_trained(self, here):
        """Its only image is not held out, under any order."""
        content = coco(NAMES, classes=('many', 'rare'))
        for entry in content['annotations']:
            entry['category_id'] = 2 if entry['image_id'] == 10 else 1
        write_coco(here / 'data/all.json', here / 'data', content)
        make()
        train = json.loads((here / 'my_annotations/train.json').read_text())
        assert 2 in {entry['category_id'] for entry in train['annotations']}


class TestChooses:
    def test_a_rectangle_as_a_polygon_is_no_mask(self, here):
        write_coco(here / 'data/all.json', here / 'data', coco(NAMES, masks='rectangle'))
        cfg, chosen = make()
        assert chosen['detector'].value == 'Faster R-CNN' and 'mask_head' not in cfg.model.roi_head

    @pytest.mark.parametrize('part', [['10', '10', '40', '10', '40', '34', '10', '34'], [[10, 10], [40, 34]] * 4])
    def test_masks_that_are_no_lists_of_numbers_get_the_report(self, usual, capsys, part):
        path = usual / 'annotations/instances_train.json'
        content = json.loads(path.read_text())
        content['annotations'][0]['segmentation'] = [part]
        path.write_text(json.dumps(content))
        assert run_command('new', ['--data', 'data', '--from-scratch', '-o', 'my.py']) == 1
        assert 'entry-malformed' in capsys.readouterr().out

    def test_objects_without_an_area_are_measured(self, here):
        """The report asks for the areas; masks and sizes are known without them."""
        content = coco(NAMES)
        for entry in content['annotations']:
            del entry['area']
        write_coco(here / 'data/all.json', here / 'data', content)
        made = new_config('data', 'fishnet99', 'my.py', machine=CPU, from_scratch=True)
        chosen = {choice.name: choice for choice in made.choices}
        assert 'has no area' in made.report.text()
        assert chosen['detector'].value == 'Mask R-CNN' and chosen['anchors'].value == '16 to 256 pixels'

    def test_sides_that_are_not_finite_are_not_measured(self, here):
        content = coco(NAMES)
        for entry, side in zip(content['annotations'], (float('nan'), float('inf'), 10**400), strict=False):
            entry['bbox'] = [10, 10, 30, side]
        write_coco(here / 'data/all.json', here / 'data', content)
        made = new_config('data', 'fishnet99', 'my.py', machine=CPU, from_scratch=True)
        (anchors,) = [choice for choice in made.choices if choice.name == 'anchors']
        assert anchors.reason == 'half of the objects are below 27 pixels' and made.report.counts['not-finite'] == 3

    def test_a_class_without_objects_and_a_crowd(self, here):
        content = coco(NAMES, classes=('disc',))
        content['categories'].append(dict(id=7, name='none of it'))
        rle = dict(size=[64, 96], counts=[0, 64 * 96])
        crowd = dict(id=99, image_id=1, category_id=1, bbox=[0, 0, 96, 64], area=6144, iscrowd=1, segmentation=rle)
        content['annotations'].append(crowd)
        write_coco(here / 'data/all.json', here / 'data', content)
        cfg, chosen = make()
        model, train, _ = build(cfg)
        assert train.metainfo['classes'] == ('disc', 'none of it')
        assert model.roi_head.bbox_head.num_classes == 2
        assert "'none of it',  # 0 objects" in (here / 'my.py').read_text()
        assert chosen['detector'].reason.startswith('100%')

    @pytest.mark.parametrize('size, scale', [((96, 64), (96, 64)), ((64, 96), (96, 64)), ((2000, 1000), (1344, 672))])
    def test_the_image_scale_is_that_of_the_data(self, here, size, scale):
        content = coco(NAMES[:5], size=size, box=(10, 10, size[0] // 2, size[1] // 2))
        write_coco(here / 'data/all.json', here / 'data', content, size)
        cfg, _ = make()
        assert cfg.train_pipeline[2].scale == cfg.test_pipeline[1].scale == scale

    @pytest.mark.parametrize('objects, count', [(100, 100), (101, 200), (2000, 1000)])
    def test_images_with_many_objects(self, here, objects, count):
        content = coco(NAMES, masks='none')
        first = content['annotations'][0]
        boxes = [[i % 60, i // 60, 30, 24] for i in range(objects - 1)]
        content['annotations'] += [dict(first, id=100 + i, bbox=box) for i, box in enumerate(boxes)]
        write_coco(here / 'data/all.json', here / 'data', content)
        cfg, chosen = make()
        assert MODELS.build(cfg.model).test_cfg.rcnn.max_per_img == count
        assert chosen['detections'].reason.startswith(f'an image holds up to {objects:,} objects')

    def test_small_objects_on_images_of_many_sizes(self, here):
        """Random crops at the size of the data, and small anchors."""
        content = coco(NAMES, box=(10, 10, 12, 16))
        for number, image in enumerate(content['images']):
            image.update(width=256 + 64 * number, height=256)
        write_coco(here / 'data/all.json', here / 'data', content)
        for number, image in enumerate(content['images']):
            write_image(here / 'data' / image['file_name'], (image['width'], image['height']), number)
        cfg, chosen = make()
        assert cfg.train_pipeline[2].type == 'RandomCrop' and cfg.model.rpn_head.anchor_generator.scales == [4]
        assert 'kept' in chosen['image size'].value
        build(cfg)

    def test_the_schedule_follows_the_data_and_the_batch_the_machine(self, usual):
        cpu, _ = make()
        gpu, _ = make(machine=GPU, overwrite=True)
        assert cpu.train_dataloader.batch_size == 4 and gpu.train_dataloader.batch_size == 4
        assert cpu.model.train_cfg.rcnn.sampler.num == 128 and gpu.model.train_cfg.rcnn.sampler.num == 512
        assert gpu.max_epochs == 100 and gpu.train_dataloader.num_workers == 4
        small, _ = make(machine=Machine('small', GIB, 4), overwrite=True)
        assert small.train_dataloader.batch_size == 1
        # Every step happens within the run.
        pretrained, chosen = make(from_scratch=False, overwrite=True)
        warm_up, steps = pretrained.param_scheduler
        assert max(steps.milestones) < pretrained.max_epochs and warm_up.end < pretrained.max_epochs * 2
        assert chosen['weights'].value == 'fishnet://fishnet99-imagenet'

    @pytest.mark.parametrize('epochs', [1, 2, 3, 32])
    def test_a_length_of_ones_own(self, usual, epochs):
        """Everything happens within the run: the data checks would warn."""
        for scratch in (True, False):
            arguments = ['--data', 'data', '--epochs', str(epochs), '--overwrite', '-o', 'my.py']
            assert run_command('new', [*arguments, *['--from-scratch'] * scratch]) == 0
            cfg = Config.fromfile('my.py')
            assert cfg.train_cfg.max_epochs == epochs
            assert [f for f in examine(cfg, ['train', 'val'], weights=False).findings if f.kind == 'no-effect'] == []
        assert epochs < 32 or cfg.param_scheduler[1].milestones == [20, 28]
        with pytest.raises(UserError, match='--epochs 0 must be at least 1'):
            make(epochs=0, overwrite=True)

    def test_an_architecture_of_ones_own(self, usual):
        narrow = "{'base': 'fishnet99', 'width': 0.25}"
        assert run_command('new', ['--data', 'data', '--arch', narrow, '--from-scratch', '-o', 'my.py']) == 0
        model = MODELS.build(Config.fromfile('my.py').model)
        assert list(model.backbone.out_channels) == [80, 208, 400, 528]
        with pytest.raises(UserError, match='no released weights'):
            new_config('data', dict(base='fishnet99', width=0.25), 'other.py')

    def test_pretrained_is_as_in_the_paper_and_scratch_has_norms(self, usual):
        pretrained, _ = make(from_scratch=False)
        scratch, _ = make(overwrite=True)
        assert pretrained.model.backbone.norm_cfg.requires_grad is False and 'norm_cfg' not in pretrained.model.neck
        assert scratch.model.neck.norm_cfg.type == 'BN' and 'init_cfg' not in scratch.model.backbone
        assert pretrained.default_hooks.safety.type == scratch.default_hooks.safety.type == 'SafetyHooks'


PIECES = [
    '{{', '}}', '{', '}', '{{ fileDirname }}', '{{$HOME:x}}', "{{'$HOME:x'}}", '{{ _base_.model }}', '$HOME', '%s', '#',
    "'", '"', "'''", '"""', '\\', '\\x7b', '\n', '\r', '\t', '\x1b[31m', '\u2028', '\ud800', '細胞', 'é', '\U0001f41f',
]  # fmt: skip
NAMES_OF_CLASSES = st.lists(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=3), min_size=1, max_size=6).map(''.join).filter(bool),
    min_size=1, max_size=20, unique=True,
)  # fmt: skip


class TestNames:
    """Of classes and files, which others chose."""

    @settings(
        max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(NAMES_OF_CLASSES)
    def test_classes_are_those_of_the_file(self, here, capsys, classes):
        file = here / 'data/all.json'
        file.parent.mkdir(exist_ok=True)
        if not (here / 'data/0.jpg').exists():
            write_coco(file, here / 'data', coco(NAMES[:2]))
        file.write_text(json.dumps(coco(NAMES[:2], classes)))
        arguments = ['--data', 'data', '--from-scratch', '--overwrite', '-o', 'my.py']
        assert run_command('new', arguments) == 0
        cfg = Config.fromfile('my.py')
        for split in ('train', 'val'):
            assert cfg[f'{split}_dataloader'].dataset.metainfo.classes == tuple(classes)
        capsys.readouterr().out.encode()

    def test_folders_with_braces(self, here):
        """Of the data, and of the images in them."""
        write_coco(here / 'a{{ fileDirname }}/x{{$HOME:y}}.json', here / 'a{{ fileDirname }}/{{b}}', coco(NAMES))
        cfg, _ = make('a{{ fileDirname }}')
        assert cfg.data_root == 'a{{ fileDirname }}/' and len(build(cfg)[1]) == 8


class TestSays:
    def test_where_weights_come_from(self, usual, monkeypatch, tmp_path):
        monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
        file = tmp_path / 'torch/hub/checkpoints/fishnet99_ckpt.tar'
        _, chosen = make(from_scratch=False)
        assert chosen['weights file'].value == 'not there yet'
        assert chosen['weights file'].reason.startswith('`train` downloads https://')
        assert chosen['weights file'].reason.endswith(f' to {file}')
        file.parent.mkdir(parents=True)
        file.touch()
        _, chosen = make(from_scratch=False, overwrite=True)
        assert chosen['weights file'].value == str(file)
        assert 'weights file' not in (tmp_path / 'my.py').read_text()

    def test_that_the_time_is_not_known(self, usual):
        _, chosen = make()
        assert chosen['time'].value == 'not known yet' and 'weights file' not in chosen


class TestRefuses:
    @pytest.mark.parametrize(
        'settings, message',
        [
            (dict(data='nowhere'), '--data nowhere: no such folder'),
            (dict(val='x.json'), 'needs --train FILE'),
            (dict(train='x.json'), 'x.json: no such file, neither here nor in data'),
        ],
    )
    def test_wrong_arguments(self, usual, settings, message):
        with pytest.raises(UserError, match=message):
            make(**settings)

    def test_an_architecture_without_weights(self, usual):
        with pytest.raises(UserError, match='no released weights .*add --from-scratch'):
            new_config('data', 'fishnext150', 'my.py')

    def test_a_config_that_exists(self, usual, here, capsys):
        (here / 'my.py').write_text('mine')
        arguments = ['--data', 'data', '--arch', 'fishnet99', '--out', 'my.py', '--from-scratch']
        with pytest.raises(SystemExit, match='my.py exists: add --overwrite'):
            run_command('new', arguments)
        assert (here / 'my.py').read_text() == 'mine'
        assert run_command('new', [*arguments, '--overwrite']) == 0
        out = capsys.readouterr().out
        assert 'next: fishnet-mmdet train my.py' in out and 'anchors: ' in out

    def test_an_empty_folder(self, here):
        (here / 'data').mkdir()
        with pytest.raises(UserError, match='neither COCO .* nor YOLO .* nor Pascal VOC'):
            make()

    def test_images_elsewhere(self, here):
        write_coco(here / 'data/all.json', here / 'elsewhere', coco(NAMES))
        with pytest.raises(UserError, match="none of its images, such as '0.jpg', lies in data"):
            make()

    def test_file_names_with_backslashes(self, here):
        content = coco(NAMES)
        for image in content['images']:
            image['file_name'] = f'images\\{image["file_name"]}'
        write_coco(here / 'data/all.json', here / 'elsewhere', content)
        with pytest.raises(UserError, match='its names have backslashes.*write / for them'):
            make()

    def test_bad_data_get_the_report(self, usual, capsys):
        path = usual / 'annotations/instances_train.json'
        content = json.loads(path.read_text())
        content['annotations'][0]['bbox'] = [10, 10, float('nan'), 5]
        content['annotations'][1]['category_id'] = 77
        path.write_text(json.dumps(content))
        assert run_command('new', ['--data', 'data', '--from-scratch', '-o', 'my.py']) == 1
        out = capsys.readouterr().out
        assert 'preflight: 2 errors' in out and 'fishnet-mmdet train my.py --skip-bad' in out


class TestOtherFormats:
    @pytest.mark.parametrize('write', [write_yolo, write_voc])
    def test_without_supervision_the_command_is_named(self, here, write, monkeypatch):
        write(here / 'data')
        monkeypatch.setitem(sys.modules, 'supervision', None)
        with pytest.raises(UserError, match='needs supervision: pip install supervision'):
            make()

    def test_yolo(self, here):
        pytest.importorskip('supervision', reason='YOLO is read by supervision, which is not installed')
        write_yolo(here / 'data')
        cfg, _ = make()
        _, train, val = build(cfg)
        assert (len(train), len(val)) == (3, 2) and train.metainfo['classes'] == ('disc', 'box')
        box = train.get_data_info(0)['instances'][0]['bbox']
        assert box == pytest.approx([14.4, 9.6, 43.2, 35.2], abs=0.1)

    def test_yolo_with_masks(self, here):
        pytest.importorskip('supervision', reason='YOLO is read by supervision, which is not installed')
        write_yolo(here / 'data', '0 0.1 0.1 0.5 0.1 0.3 0.6\n')
        cfg, _ = make()
        assert build(cfg)[0].with_mask

    def test_broken_labels(self, here):
        pytest.importorskip('supervision', reason='YOLO is read by supervision, which is not installed')
        write_yolo(here / 'data', '0 a b c d\n')
        with pytest.raises(UserError, match='data/labels/train cannot be read'):
            make()

    def test_yolo_whose_training_is_a_list(self, here):
        """It must not train on the images of the validation."""
        pytest.importorskip('supervision', reason='YOLO is read by supervision, which is not installed')
        write_yolo(here / 'data')
        (here / 'data/data.yaml').write_text(
            'train: [images/train, images/more]\nval: images/val\nnames: [disc, box]\n'
        )
        with pytest.raises(UserError, match=r"train is \['images/train', 'images/more'\], not one folder"):
            make()

    def test_yolo_written_on_windows(self, here):
        pytest.importorskip('supervision', reason='YOLO is read by supervision, which is not installed')
        write_yolo(here / 'data')
        (here / 'data/data.yaml').write_text('train: images\\train\nval: ..\\images\\val\nnames: [disc, box]\n')
        assert [len(part) for part in build(make()[0])[1:]] == [3, 2]

    def test_voc_in_two_folders_of_one_split(self, here):
        pytest.importorskip('supervision', reason='Pascal VOC is read by supervision, which is not installed')
        for name in ('2007', '2012'):
            write_voc(here / 'data/train' / name)
        with pytest.raises(
            UserError, match='both seem to be for train: put the annotations of a split into one folder'
        ):
            make()

    def test_voc_is_divided(self, here):
        pytest.importorskip('supervision', reason='Pascal VOC is read by supervision, which is not installed')
        write_voc(here / 'data')
        cfg, chosen = make()
        _, train, val = build(cfg)
        assert (len(train), len(val)) == (4, 1) and set(train.metainfo['classes']) == {'disc', 'box'}
        assert chosen['annotations'].reason == 'converted from Pascal VOC'


def test_the_two_configs_whose_ap_is_compared(here, monkeypatch):
    """docs/results.md: the same network, the same length, the same images, on data in the form of the nuclei."""
    for split, count in (('train', 6), ('val', 2)):
        content = coco(NAMES[:count], ('nucleus',))
        write_coco(here / f'nuclei/annotations/instances_{split}.json', here / 'nuclei' / split, content)
    monkeypatch.setenv('NUCLEI_ROOT', str(here / 'nuclei'))
    configs = [Config.fromfile(path) for path in new_on_nuclei.write(here / 'nuclei', here, 3)]
    init_default_scope('mmdet')
    shapes = []
    for cfg in configs:
        state = MODELS.build(cfg.model).state_dict()
        shapes.append({key: value.shape for key, value in state.items() if not key.startswith('rpn_head.rpn')})
        assert cfg.train_cfg.max_epochs == cfg.train_cfg.val_interval == 3 and cfg.randomness.seed == 0
        assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 6
        assert examine(cfg, ['train', 'val'], weights=False).findings == []
    assert shapes[0] == shapes[1]
