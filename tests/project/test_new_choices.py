"""What a new config says: settings that follow from data and machine, names as they are, sources."""

import json

import new_on_nuclei
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from new_case import CPU, GPU, NAMES, build, make, write_usual
from own_data import coco, write_coco, write_image

from fishnet_mmdet import UserError
from fishnet_mmdet.base import cores
from fishnet_mmdet.commands import run_command
from fishnet_mmdet.preflight import examine
from fishnet_mmdet.project.new import new_config
from fishnet_mmdet.project.new.machine import GIB, Machine, this_machine


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test runs in an empty folder, as a user would."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def usual(here):
    return write_usual(here / 'data')


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


def test_the_quota_of_a_container_counts(monkeypatch):
    monkeypatch.setattr('os.sched_getaffinity', lambda _: range(64), raising=False)
    monkeypatch.setattr(cores, '_quota', lambda _: 4.5)
    assert this_machine().cores == 4
