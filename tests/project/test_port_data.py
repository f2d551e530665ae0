"""`fishnet-mmdet port --data`: detectors of MMDetection on the user's own data."""

import json
from pathlib import Path

import pytest
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from new_case import NAMES, write_usual
from own_data import coco, write_coco

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.commands import run_command
from fishnet_mmdet.project.own_data import find_data
from fishnet_mmdet.project.port import parse_arch, port_config
from fishnet_mmdet.project.port.bases import read_base

NARROW = "{'base': 'fishnet99', 'width': 0.25}"
RETINA = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
CASCADE = 'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'
FASTER = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
CITYSCAPES = 'mmdet::cityscapes/mask-rcnn_r50_fpn_1x_cityscapes.py'
FACES = 'mmdet::wider_face/retinanet_r50_fpn_1x_widerface.py'
VOC = 'mmdet::pascal_voc/retinanet_r50_fpn_1x_voc0712.py'
LVIS = 'mmdet::lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1.py'
MASK2FORMER = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'
TRAIN, VAL = 'data/annotations/instances_train.json', 'data/annotations/instances_val.json'


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test runs in a folder with a data set of two classes, as a user would."""
    monkeypatch.chdir(tmp_path)
    write_usual(tmp_path / 'data')
    return tmp_path


def port(config, *arguments):
    """The config that the command writes, read back."""
    command = ['port', [config, '--arch', NARROW, '--from-scratch', '--data', 'data', '-o', 'my.py', *arguments]]
    assert run_command(*command) == 0
    return Config.fromfile('my.py')


def own_data(folder='data'):
    return find_data(Path(folder), Path('my.py'))


def base(name, *lines):
    """A config of the user on another one."""
    Path('base.py').write_text('\n'.join([f'_base_ = {name!r}', *lines]))
    return 'base.py'


def data_set(loader):
    """The data set that reads the annotations, in whatever wraps it."""
    node = loader.dataset
    while 'ann_file' not in node:
        node = node.dataset
    return node


class TestReads:
    @pytest.mark.parametrize('config', [RETINA, CITYSCAPES, LVIS, MASK2FORMER, VOC, FACES])
    def test_the_files_of_the_user(self, config):
        """In wrappers such as RepeatDataset, and in place of other classes of data sets."""
        cfg = port(config)
        init_default_scope('mmdet')
        for split, count in (('train', 6), ('val', 2), ('test', 2)):
            node = data_set(cfg[f'{split}_dataloader'])
            node.filter_cfg = {}
            built = DATASETS.build(node)
            assert (len(built), built.metainfo['classes']) == (count, ('disc', 'box'))
            assert Path(built.get_data_info(0)['img_path']).is_file()
        # A name for the classes, which stand in the file once.
        assert Path('my.py').read_text().count("('disc', 'box')") == 1

    def test_the_config_in_memory_is_the_file(self, here):
        here.joinpath('base.py').write_text(read_base(MASK2FORMER).config.pretty_text)
        ported = port_config('base.py', parse_arch(NARROW), scratch=True).with_data(own_data()).config()
        assert port('base.py').to_dict() == ported.to_dict()

    @pytest.mark.parametrize(
        'config, kinds',
        [
            (RETINA, ['CocoMetric']),
            (CITYSCAPES, ['CocoMetric']),
            (LVIS, ['OfficialCocoMetric']),
            (VOC, ['OfficialCocoMetric']),
        ],
    )
    def test_the_evaluators(self, config, kinds):
        """Those of COCO get the file; those of other forms are left out, or ours is in their place."""
        cfg = port(config)
        for name in ('val_evaluator', 'test_evaluator'):
            nodes = cfg[name] if isinstance(cfg[name], list) else [cfg[name]]
            assert [(node.type, node.ann_file) for node in nodes] == [(kind, VAL) for kind in kinds]

    def test_evaluators_in_other_forms(self):
        """Of VOC, for a detector without masks; in a dict of their own; for a server, which has the annotations."""
        voc = "dict(_delete_=True, type='VOCMetric', metric='mAP')"
        listed = (
            "dict(_delete_=True, type='Evaluator', metrics=dict(type='CocoMetric', metric='bbox', ann_file='a.json'))"
        )
        (ours,) = port(base(RETINA, f'val_evaluator = {voc}', f'test_evaluator = {listed}')).val_evaluator
        assert (ours.type, ours.metric, ours.ann_file) == ('OfficialCocoMetric', 'bbox', VAL)
        assert Config.fromfile('my.py').test_evaluator.metrics.ann_file == VAL
        cfg = port(base(RETINA, 'test_evaluator = dict(format_only=True)'), '--overwrite')
        assert cfg.test_evaluator.format_only is False

    def test_evaluators_can_be_built(self):
        """MMDetection's config merges an argument of the VOC metric into one that does not take it."""
        cfg = port('mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712-cocofmt.py')
        init_default_scope('mmdet')
        assert METRICS.build(cfg.val_evaluator).metrics == ['bbox']
        assert 'CocoMetric has no argument eval_mode' in Path('my.py').read_text()

    def test_data_sets_in_a_row(self):
        """One comes in the place of all, and so does one evaluator."""
        metrics = "[dict(type='CocoMetric', metric='bbox', ann_file='a.json')] * 2"
        lines = [
            "one = dict(type='CocoDataset', ann_file='a.json', pipeline=[dict(type='LoadImageFromFile')])",
            "val_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=[one, one]))",
            f"val_evaluator = dict(_delete_=True, type='MultiDatasetsEvaluator', metrics={metrics})",
        ]
        cfg = port(base(RETINA, *lines))
        assert cfg.val_dataloader.dataset.ann_file == VAL and [m.ann_file for m in cfg.val_evaluator] == [VAL]
        other = lines[1].replace('[one, one]', '[one, dict(one, pipeline=[])]')
        with pytest.raises(ConfigError, match='reads 2 annotation files, and not as a ConcatDataset with one pipeline'):
            port_config(base(RETINA, lines[0], other)).with_data(own_data())

    def test_masks_are_measured_where_there_are_some(self, here):
        """BoxInst learns masks from boxes."""
        for split in ('train', 'val'):
            write_coco(here / f'boxes/{split}.json', here / 'boxes', coco(NAMES, masks='none'))
        arguments = ['--data', 'boxes', '--train', 'train.json', '--val', 'val.json']
        cfg = port('mmdet::boxinst/boxinst_r50_fpn_ms-90k_coco.py', *arguments)
        assert cfg.val_evaluator.metric == ['bbox']

    def test_all_images(self):
        """Also where the base takes some. It has None where a dict comes, which MMEngine does not merge."""
        mine = base(RETINA, 'train_dataloader = dict(dataset=dict(indices=4, metainfo=None))')
        dataset = port(mine).train_dataloader.dataset
        assert dataset.indices is None and dataset.metainfo.classes == ('disc', 'box')

    def test_one_file_is_divided(self, here):
        write_coco(here / 'data/all.json', here / 'data/train', coco(NAMES))
        cfg = port(RETINA, '--train', 'data/all.json')
        counts = [
            len(json.loads(Path(f'my_annotations/{name}.json').read_text())['images']) for name in ('train', 'val')
        ]
        assert counts == [8, 2]
        assert cfg.train_dataloader.dataset.ann_file == 'my_annotations/train.json'


class TestClasses:
    def test_of_every_head(self):
        """Also of those in a list."""
        head = port(CASCADE).model.roi_head
        assert [part.num_classes for part in (*head.bbox_head, head.mask_head)] == [2, 2, 2, 2]

    def test_weights_of_the_loss(self):
        head = port(MASK2FORMER).model.panoptic_head
        assert (head.num_things_classes, head.loss_cls.class_weight) == (2, [1.0, 1.0, 0.1])

    def test_of_a_model_with_another_number_than_its_data(self):
        assert port(base(RETINA, 'model = dict(bbox_head=dict(num_classes=7))')).model.bbox_head.num_classes == 2

    def test_proposals_have_none(self):
        cfg = port('mmdet::rpn/rpn_r50_fpn_1x_coco.py')
        assert cfg.train_dataloader.dataset.ann_file == TRAIN


class TestRefusals:
    @pytest.mark.parametrize(
        'config, message',
        [
            ('mmdet::htc/htc_r50_fpn_1x_coco.py', 'CocoDataset with semantic maps'),
            ('mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py', 'CocoPanopticDataset with semantic maps'),
            (
                'mmdet::openimages/faster-rcnn_r50_fpn_32xb2-1x_openimages.py',
                'OpenImagesDataset with annotations of another form',
            ),
            ('mmdet::qdtrack/qdtrack_faster-rcnn_r50_fpn_4e_base.py', 'has no train_dataloader'),
            (
                'mmdet::fast_rcnn/fast-rcnn_r50_fpn_1x_coco.py',
                'proposal_file = .* holds proposals for the images',
            ),
            ('mmdet::lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py', 'model.teacher_ckpt = .* is a teacher for the classes'),
        ],
    )
    def test_name_the_thing(self, config, message):
        with pytest.raises(ConfigError, match=message):
            port_config(config).with_data(own_data())

    def test_masks_that_the_data_do_not_have(self, here):
        write_coco(here / 'boxes/train.json', here / 'boxes', coco(NAMES, masks='none'))
        with pytest.raises(ConfigError, match='trains masks, and 0% of the objects in .*train.json have one'):
            port_config(CASCADE).with_data(own_data('boxes'))

    def test_two_numbers_of_classes(self):
        mine = base(CASCADE, 'model = dict(roi_head=dict(mask_head=dict(num_classes=3)))')
        with pytest.raises(ConfigError, match=r'= \[3, 80\], its data 80 classes: it is not clear'):
            port_config(mine).with_data(own_data())

    def test_weights_of_other_classes(self):
        loss = 'dict(num_classes=2, loss_cls=dict(class_weight=[1.0, 2.0, 0.5]))'
        mine = base(FASTER, f'model = dict(roi_head=dict(bbox_head={loss}))')
        with pytest.raises(
            ConfigError, match=r'bbox_head.loss_cls.class_weight = \[1.0, 2.0, 0.5\] has weights of the'
        ):
            port_config(mine).with_data(own_data())
        same = "train_dataloader = dict(dataset=dict(metainfo=dict(classes=('disc', 'box'))))"
        mine = base(FASTER, f'model = dict(roi_head=dict(bbox_head={loss}))', same)
        assert port(mine).model.roi_head.bbox_head.loss_cls.class_weight == [1.0, 2.0, 0.5]

    def test_nothing_is_written_for_a_config_that_is_refused(self, here):
        write_coco(here / 'one/all.json', here / 'one/images', coco(NAMES))
        for config in ('mmdet::htc/htc_r50_fpn_1x_coco.py', 'mmdet::htc/none.py'):
            with pytest.raises(SystemExit):
                run_command('port', [config, '--data', 'one', '-o', 'my.py'])
        assert not Path('my_annotations').exists() and not Path('my.py').exists()

    def test_a_data_set_of_the_user_with_other_annotations(self):
        """Its own arguments mean nothing to the CocoDataset that would come in its place."""
        mine = base(LVIS, 'train_dataloader = dict(dataset=dict(dataset=dict(extra=3)))')
        with pytest.raises(ConfigError, match='LVISV1Dataset, in whose place a CocoDataset .* no argument extra'):
            port_config(mine).with_data(own_data())

    def test_files_without_a_folder(self, here):
        with pytest.raises(SystemExit, match='--train and --val need --data DIR'):
            run_command('port', [RETINA, '--train', TRAIN, '-o', 'my.py'])

    def test_bad_data_get_the_report(self, here, capsys):
        content = json.loads(Path(TRAIN).read_text())
        content['annotations'][0]['bbox'] = [10, 10, float('nan'), 5]
        Path(TRAIN).write_text(json.dumps(content))
        assert run_command('port', [RETINA, '--data', 'data', '--val', VAL, '--train', TRAIN, '-o', 'my.py']) == 1
        out = capsys.readouterr().out
        assert 'preflight: 1 error' in out and 'Next: fishnet-mmdet train my.py --skip-bad' in out


def test_trains_and_validates(here, run_tool):
    port(RETINA)
    options = [
        f'{split}_dataloader.dataset.pipeline.{step}.scale=(96,64)' for split, step in (('train', 2), ('val', 1))
    ]
    options += ['train_cfg.max_epochs=1', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0']
    options += [f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val')]
    done = run_tool('tools/train.py', 'my.py', '--work-dir', 'work', '--cfg-options', *options, cwd=here)
    assert done.returncode == 0, done.stderr
    (log,) = Path('work').glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    # So short a training finds nothing, of which mmdet's metric gives no figures.
    assert 0 < rows[0]['loss'] < 100 and 'loss' not in rows[-1]
