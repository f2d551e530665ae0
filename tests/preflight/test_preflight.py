"""Errors before a model is built: each names the thing, the value and the fix, and comes in one report."""

import pytest
import torch
from conftest import CONFIGS
from mmdet.utils import register_all_modules
from mmengine.config import Config

from fishnet_mmdet import FishNet
from fishnet_mmdet.preflight import PreflightError, check

register_all_modules(init_default_scope=True)
MAIN = CONFIGS / 'mask_rcnn_fishnet150_fpn.py'


@pytest.fixture
def demo_cfg(demo_data):
    cfg = Config.fromfile(CONFIGS / 'mask_rcnn_fishnet_demo.py')
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = f'{demo_data}/'
    for split in ('val', 'test'):
        cfg[f'{split}_evaluator'].ann_file = f'{demo_data}/annotations/instances_val.json'
    return cfg


def weights_of(backbone, **init):
    """Checks a config that is only a backbone with pretrained weights."""
    backbone = dict(backbone, init_cfg=dict(type='Pretrained', **init))
    return check(Config(dict(model=dict(backbone=backbone))), [], weights=True)


def test_good_data_passes(demo_cfg):
    check(demo_cfg, ['train', 'val', 'test'], weights=True)


def test_missing_coco_names_the_path_the_tree_and_the_demo(tmp_path, run_tool):
    done = run_tool('tools/train.py', MAIN, cwd=tmp_path)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    for part in (
        str(tmp_path / 'data/coco/annotations/instances_train2017.json'),
        'val2017/*.jpg',
        'make demo',
    ):
        assert part in done.stderr
    assert not (tmp_path / 'work_dirs').exists()


@pytest.mark.parametrize('gone', ['annotations/instances_val.json', 'train'])
def test_each_missing_path_is_named(demo_cfg, demo_data, gone, tmp_path):
    root = tmp_path / 'copy'
    root.mkdir()
    for path in ('annotations', 'train', 'val'):
        (root / path).mkdir()
    for path in ('annotations/instances_train.json', 'annotations/instances_val.json'):
        (root / path).write_text((demo_data / path).read_text())
    target = root / gone
    target.unlink() if target.is_file() else target.rmdir()
    for split in ('train', 'val', 'test'):
        demo_cfg[f'{split}_dataloader'].dataset.data_root = f'{root}/'
    with pytest.raises(PreflightError, match=str(target)):
        check(demo_cfg, ['train', 'val'], weights=False)


@pytest.mark.parametrize(
    'classes, ignored, message',
    [
        (('disc', 'box', 'triangle'), (), None),
        (('disc', 'box'), ('triangle',), None),
        (('disc', 'box'), (), None),
        (
            ('disc', 'box', 'triangel'),
            (),
            r"does not have: \['triangle'\].*do not have: \['triangel'\].*'triangel' meant to be 'triangle'",
        ),
        (('disc', 'box', 'triangle', 'star'), (), r"annotations do not have: \['star'\]"),
        (('triangle', 'disc', 'box'), (), 'a different order'),
        (('person', 'car'), (), 'no class of the config is in the file'),
    ],
)
def test_classes(demo_cfg, classes, ignored, message):
    demo_cfg.train_dataloader.dataset.metainfo.classes = classes
    demo_cfg.ignored_classes = ignored
    if message is None:
        found = {f.kind: f.detail for f in check(demo_cfg, ['train'], weights=False).findings}
        left_out = {'disc', 'box', 'triangle'} - {*classes, *ignored}
        assert found.keys() == ({'category-left-out'} if left_out else set())
        assert all(name in found['category-left-out'] for name in left_out)
        return
    with pytest.raises(PreflightError, match=message) as error:
        check(demo_cfg, ['train'], weights=False)
    assert "['disc', 'box', 'triangle']" in str(error.value) and str(list(classes)) in str(error.value)


def test_coco_classes_are_the_default(demo_cfg):
    demo_cfg.train_dataloader.dataset.pop('metainfo')
    with pytest.raises(PreflightError, match='person'):
        check(demo_cfg, ['train'], weights=False)


def test_datasets_inside_wrappers_are_checked(demo_cfg):
    inner = demo_cfg.train_dataloader.dataset
    demo_cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    check(demo_cfg, ['train'], weights=False)
    inner['ann_file'] = 'none.json'
    demo_cfg.train_dataloader.dataset.dataset = inner
    with pytest.raises(PreflightError, match='none.json'):
        check(demo_cfg, ['train'], weights=False)


class TestWeights:
    def test_a_missing_file_is_named_with_the_fix(self, tmp_path):
        with pytest.raises(PreflightError) as error:
            weights_of(dict(type='FishNet'), checkpoint=str(tmp_path / 'fish.pth'))
        for part in (str(tmp_path / 'fish.pth'), 'init_cfg.checkpoint=', 'scratch'):
            assert part in str(error.value)

    def test_weights_of_another_fishnet_are_named(self, tmp_path):
        torch.save(FishNet('fishnet99').state_dict(), tmp_path / 'fish.pth')
        weights_of(dict(type='FishNet', arch='fishnet99', out_indices=(0, 1)), checkpoint=str(tmp_path / 'fish.pth'))
        with pytest.raises(PreflightError, match=r'fishnet99\) does not fit fishnet150'):
            weights_of(dict(type='FishNet', arch='fishnet150'), checkpoint=str(tmp_path / 'fish.pth'))

    def test_check_reads_files_and_downloads_nothing(self, tmp_path, monkeypatch, call_tool):
        monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
        for number, (name, status, said) in enumerate([
            ('none.pth', 1, 'none.pth'),
            ('fishnet://fishnet150-imagenet', 0, 'fishnet://fishnet150-imagenet is not checked'),
            ('https://127.0.0.1:9/fish.pth', 0, 'https://127.0.0.1:9/fish.pth is not checked'),
        ]):  # fmt: skip
            config = tmp_path / f'config{number}.py'
            backbone = dict(type='FishNet', arch='fishnet150', init_cfg=dict(type='Pretrained', checkpoint=name))
            config.write_text(f'model = dict(backbone={backbone})\n')
            done = call_tool('tools/check_data.py', config, cwd=tmp_path)
            assert (done.returncode, said in done.stdout) == (status, True), done.stdout + done.stderr
        assert not (tmp_path / 'torch').exists()

    def test_other_networks_are_left_to_mmengine(self, tmp_path, monkeypatch):
        monkeypatch.setenv('TORCH_HOME', str(tmp_path))
        with pytest.raises(PreflightError) as error:
            weights_of(dict(type='ResNet'), checkpoint='http://127.0.0.1:9/resnet-00000000.pth')
        assert '127.0.0.1:9/resnet' in str(error.value)
        assert str(tmp_path / 'hub' / 'checkpoints') in str(error.value)
        (tmp_path / 'resnet.pth').write_text('<html>sign in</html>')
        with pytest.raises(PreflightError, match='cannot be read'):
            weights_of(dict(type='ResNet'), checkpoint=str(tmp_path / 'resnet.pth'))
        torch.save({'state_dict': {}}, tmp_path / 'resnet.pth')
        weights_of(dict(type='ResNet'), checkpoint=str(tmp_path / 'resnet.pth'))

    def test_the_main_config_asks_before_it_builds(self, demo_data, tmp_path, run_tool):
        """The paper's config with data but without a network: refused at once, and nothing is left behind."""
        options = [
            f'train_dataloader.dataset.data_root={demo_data}/',
            'train_dataloader.dataset.metainfo.classes=disc,box,triangle',
            'train_dataloader.dataset.ann_file=annotations/instances_train.json',
            'train_dataloader.dataset.data_prefix.img=train/',
            'val_cfg=None',
            'val_dataloader=None',
            'val_evaluator=None',
        ]
        nowhere = {'TORCH_HOME': str(tmp_path / 'torch'), 'https_proxy': 'http://127.0.0.1:9'}
        done = run_tool('tools/train.py', MAIN, '--cfg-options', *options, cwd=tmp_path, env=nowhere)
        assert done.returncode == 1 and 'Traceback' not in done.stderr
        for part in (
            'https://www.dropbox.com/s/hjadcef18ln3o2v/fishnet150_ckpt.tar',
            str(tmp_path / 'torch/hub/checkpoints/fishnet150_ckpt.tar'),
            'Expected checksum: none is published',
            'scratch',
        ):
            assert part in done.stderr
        assert not (tmp_path / 'work_dirs').exists()
