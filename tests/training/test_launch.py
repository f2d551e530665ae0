"""From a config to a run: what is read on a resume, and mistakes of the user in one line each."""

import re
import shutil
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from conftest import CONFIGS, demo_options
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, TRANSFORMS, DefaultScope
from run_logs import log_of
from torch import nn

from fishnet_mmdet import ResumableEpochLoop
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.launch import read_config
from fishnet_mmdet.training.launch.config import is_classifier, is_segmentor
from fishnet_mmdet.training.launch.runner import config_mistakes
from fishnet_mmdet.training.launch.switches import switch_on_tta

DEMO = CONFIGS / 'mask_rcnn_fishnet_demo.py'
QUICK = dict(seed=5, workers=0, validate=False, ema=False)


def bytes_read(run, rank=0):
    """By the last training in a folder, on one rank."""
    return int(re.findall(r'bytes read: (\d+)', log_of(run, rank))[-1])


class TestReads:
    """Of a resume, by the kernel's count of what each process has read."""

    WIDE = dict(QUICK, width=500_000)

    @pytest.fixture(scope='class')
    def wide(self, forker, tmp_path_factory):
        """A run of one epoch with a checkpoint of more than 30 MB, the bytes that it read, and pretrained weights."""
        run = tmp_path_factory.mktemp('wide') / 'run'
        assert forker.run(work_dir=str(run), epochs=1, tool=True, **self.WIDE) == [0], log_of(run)
        pretrained = shutil.copy(run / 'epoch_1.pth', run.with_name('pretrained.pth'))
        return run, bytes_read(run), str(pretrained)

    def whole_reads(self, wide, run, rank=0):
        """How often the checkpoint was read whole."""
        return (bytes_read(run, rank) - wide[1]) / (wide[0] / 'epoch_1.pth').stat().st_size

    def test_the_count_sees_pretrained_files(self, forker, wide, tmp_path):
        """Without a resume, the pretrained file is checked, its checksums and its content, and then loaded."""
        job = dict(self.WIDE, work_dir=str(tmp_path / 'run'), epochs=1, tool=True, pretrained=wide[2])
        assert forker.run(**job) == [0], log_of(tmp_path / 'run')
        assert 2.8 < self.whole_reads(wide, tmp_path / 'run') < 3.4

    @pytest.mark.parametrize('ranks', [1, 2])
    @pytest.mark.parametrize('how', ['auto', 'by name'])
    def test_a_resume_reads_its_checkpoint_once_on_each_rank(self, forker, wide, tmp_path, ranks, how):
        """Once for the checksums and once for the tensors. The pretrained file is not there: nobody looks for it."""
        run = shutil.copytree(wide[0], tmp_path / 'run')
        source = 'auto' if how == 'auto' else str(run / 'epoch_1.pth')
        job = dict(self.WIDE, work_dir=str(run), epochs=2, tool=True, ranks=ranks, pretrained='/nowhere.pth')
        assert forker.run(**job, **{'from': source}) == [0] * ranks, log_of(run)
        assert 'resumed epoch: 1' in log_of(run)
        for rank in range(ranks):
            assert 1.8 < self.whole_reads(wide, run, rank) < 2.4

    def test_any_runner_reads_it_once_too(self, forker, wide, tmp_path):
        """As other people's train tools resume: resume=True, and MMEngine asks for what `last_checkpoint` names."""
        run = shutil.copytree(wide[0], tmp_path / 'run')
        assert forker.run(**self.WIDE, work_dir=str(run), epochs=2, resume=True) == [0], log_of(run)
        assert 'resumed epoch: 1' in log_of(run)
        assert 1.8 < self.whole_reads(wide, run) < 2.4


class TestIncompleteCheckpoints:
    """A resume whose checkpoint lacks weights of the model."""

    @pytest.fixture
    def run(self, forker, tmp_path):
        """A run whose checkpoint has lost a layer, and the whole checkpoint beside it."""
        run = tmp_path / 'run'
        assert forker.run(work_dir=str(run), epochs=1, **QUICK) == [0]
        shutil.copy(run / 'epoch_1.pth', tmp_path / 'whole.pth')
        content = torch.load(run / 'epoch_1.pth', weights_only=True)
        del content['state_dict']['layers.0.weight']
        torch.save(content, run / 'epoch_1.pth')
        return run

    def resume(self, forker, run, **more):
        return forker.run(**QUICK, work_dir=str(run), epochs=2, tool=True, **{'from': 'auto'}, **more)

    def test_is_refused(self, forker, run):
        assert self.resume(forker, run) == [1]
        told = log_of(run)
        assert 'lacks weights of the model' in told and 'layers.0.weight' in told and 'strict_resume=False' in told
        assert 'Traceback' not in told

    def test_a_pretrained_file_may_provide_them(self, forker, run):
        """As for a frozen part that a hook keeps out of checkpoints."""
        assert self.resume(forker, run, pretrained=str(run.with_name('whole.pth'))) == [0], log_of(run)

    def test_the_switch_accepts_them(self, forker, run):
        assert self.resume(forker, run, strict_resume=False) == [0], log_of(run)
        assert 'missing keys in source state_dict: layers.0.weight' in log_of(run)


class TestMistakes:
    """In one line each, without a traceback."""

    @pytest.mark.parametrize(
        'option, expected',
        [
            ("model.backbone.arch='fishnet151'", 'fishnet151'),
            ('model.backbone.type=FishNat', "type='FishNat' is not a registered model. Did you mean 'FishNet'? Check"),
            ('optim_wrapper.optimizer.momentun=0.9', "AdamW got an unexpected keyword argument 'momentun'"),
            ('custom_hooks.99.type=X', "the setting custom_hooks.99.type='X' does not fit"),
            ('model.neck.in_channels=None', None),
        ],
    )
    def test_a_setting(self, demo_data, tmp_path, run_tool, option, expected):
        options = [*demo_options(demo_data), option]
        done = run_tool('tools/train.py', DEMO, '--work-dir', tmp_path, '--cfg-options', *options)
        assert done.returncode == 1
        if expected is None:
            # Not certain to be the user's: the traceback stays.
            assert 'Traceback' in done.stderr
            return
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith('error: ') and expected in last and 'Traceback' not in done.stderr, done.stderr[-2000:]

    @pytest.mark.parametrize(
        'key, value, expected',
        [
            ('out_indices', (0, 5), 'out_indices'),
            ('depht', 50, "FishNet got an unexpected keyword argument 'depht'"),
            ('with_pc', True, "'with_pc'. Did you mean 'with_cp'?"),
            ('norm_cfg', dict(type='BM'), "the type 'BM' is not a registered norm"),
        ],
    )
    def test_an_argument_of_the_backbone(self, key, value, expected):
        cfg = Config(dict(model=dict(type='FishNet', arch='fishnet99', **{key: value})))
        with pytest.raises(ConfigError, match=re.escape(expected)), config_mistakes(cfg), torch.device('meta'):
            MODELS.build(cfg.model)

    def test_nothing_is_suggested_where_nothing_is_close(self):
        said = re.escape("type='Xyzzy' is not a registered hook. Check its spelling")
        with pytest.raises(ConfigError, match=said), config_mistakes(Config()):
            HOOKS.build(dict(type='Xyzzy'))
        with pytest.raises(ConfigError, match="argument 'kwarg'$"), config_mistakes(Config(dict(model=dict(kwarg=1)))):
            MODELS.build(dict(type='FishNet', kwarg=1))  # **kwargs has no such name

    def test_an_unknown_optimizer(self):
        cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='SDG', lr=1.0))))
        with (
            pytest.raises(ConfigError, match="optimizer.type='SDG' is not a registered optimizer. Did you mean 'SGD'"),
            config_mistakes(cfg),
        ):
            build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)

    def test_an_option_without_a_value(self, tmp_path, run_tool):
        done = run_tool('tools/train.py', DEMO, '--work-dir', tmp_path, '--cfg-options', 'model.backbone')
        assert done.returncode == 2 and "'model.backbone' is not of the form key=value" in done.stderr

    def test_a_bug_keeps_its_traceback(self):
        cfg = Config(dict(model=dict(type='X', width=3)))
        with pytest.raises(TypeError), config_mistakes(cfg):
            SimpleNamespace(1, 2, 3)
        with pytest.raises(KeyError, match='width'), config_mistakes(cfg):
            {}['width']

        class Broken:
            def __init__(self):
                super().__init__(depth=3)

        with pytest.raises(TypeError), config_mistakes(cfg):
            Broken()

    def test_a_missing_argument_of_a_config(self):
        with pytest.raises(ConfigError, match='PrepareTTAHook missing 1 required.*tta_cfg'), config_mistakes(Config()):
            HOOKS.build(dict(type='PrepareTTAHook'))

    def test_configs_that_cannot_be_read(self, tmp_path):
        (tmp_path / 'broken.py').write_text('model = dict(')
        with pytest.raises(ConfigError, match='cannot be read as a config: SyntaxError'):
            read_config(str(tmp_path / 'broken.py'))
        with pytest.raises(ConfigError, match='config file not found'):
            read_config(str(tmp_path / 'none.py'))

    def test_modules_that_a_setting_names_are_imported(self, tmp_path, monkeypatch):
        """MMEngine imports only what the file names."""
        (tmp_path / 'a.py').write_text('x = None')
        (tmp_path / 'named_by_a_setting.py').touch()
        monkeypatch.syspath_prepend(tmp_path)
        config = str(tmp_path / 'a.py')
        read_config(config, {'custom_imports': dict(imports=['named_by_a_setting'])})
        assert 'named_by_a_setting' in sys.modules
        assert read_config(config, {'custom_imports': None}).custom_imports is None
        for wrong, said in (
            (dict(imports=['no_such_module']), 'no_such_module'),
            ('a_module', 'mapping'),
            ([1], 'mapping'),
        ):
            with pytest.raises(ConfigError, match=f'the setting custom_imports=.*{said}'):
                read_config(config, {'custom_imports': wrong})

    def test_settings_can_be_applied_twice(self, tmp_path):
        (tmp_path / 'a.py').write_text('norm = None')
        settings = dict(norm=dict(_delete_=True, type='BN'))
        assert [read_config(str(tmp_path / 'a.py'), settings).norm for _ in range(2)] == [dict(type='BN')] * 2
        with pytest.raises(ConfigError, match=r"the setting norm.type='BN' does not fit .*a.py"):
            read_config(str(tmp_path / 'a.py'), {'norm.type': 'BN'})

    def test_a_package_that_onedls_mmengine_does_not_find(self, tmp_path, monkeypatch):
        """Its `mmseg::` asks for the original package, which would overwrite the fork."""

        def fromfile(_):
            raise ModuleNotFoundError('mmsegmentation is not installed, please install mmsegmentation manually.')

        (tmp_path / 'a.py').touch()
        monkeypatch.setattr(Config, 'fromfile', fromfile)
        with pytest.raises(ConfigError, match=r'does not find .* by `mmseg::`. Write the path in _base_ instead: /'):
            read_config(str(tmp_path / 'a.py'))


class TestConfigsOfClasses:
    """MMEngine's configs in pure Python: classes in place of names, and no default scope."""

    TEXT = """
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs
from mmdet.models import {model}
from fishnet_mmdet import ResumableEpochLoop

default_scope = None
model = dict(type={model})
pipeline = [dict(type=LoadImageFromFile), dict(type=LoadAnnotations, with_bbox=True), dict(type=PackDetInputs)]
test_dataloader = dict(dataset=dict(type=CocoDataset, pipeline=pipeline), collate_fn=pseudo_collate)
"""

    @pytest.fixture
    def cfg(self, tmp_path):
        file = tmp_path / 'classes.py'
        file.write_text(self.TEXT.format(model='RetinaNet'))
        return read_config(str(file))

    def test_augmentation(self, cfg):
        switch_on_tta(cfg)
        with DefaultScope.overwrite_default_scope(None):
            last = TRANSFORMS.build(cfg.test_dataloader.dataset.pipeline[-1])
        assert type(last).__name__ == 'TestTimeAug' and cfg.model.type.endswith('DetTTAModel')

    def test_augmentation_of_several_data_sets(self, cfg):
        inner = cfg.test_dataloader.dataset
        cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner, dict(dataset=inner)])
        switch_on_tta(cfg)
        first, second = cfg.test_dataloader.dataset.datasets
        assert [node.pipeline[-1]['type'] for node in (first, second.dataset)] == ['TestTimeAug'] * 2

    @pytest.mark.parametrize(
        'evaluator, refused',
        [
            (dict(type='CocoMetric', metric=['bbox', 'segm']), True),
            (dict(type='Evaluator', metrics=[dict(type='CocoMetric', metric='segm')]), True),
            (dict(type='CocoPanopticMetric'), True),
            (dict(type='CocoMetric', metric='bbox'), False),
        ],
    )
    def test_augmentation_is_refused_by_what_is_evaluated(self, cfg, evaluator, refused):
        """Not by heads: CondInst has no `roi_head.mask_head`, and the boxes of a Mask R-CNN can be merged."""
        cfg.merge_from_dict(dict(test_evaluator=evaluator, model=dict(roi_head=dict(mask_head=dict()))))
        with pytest.raises(ConfigError, match='merges boxes only') if refused else nullcontext():
            switch_on_tta(cfg)

    def test_the_loader_of_a_loop_is_still_one_of_classes(self, cfg):
        """A plain dict of it would hold objects that are not imported yet."""
        loop = SimpleNamespace(endless=False)
        assert ResumableEpochLoop._seeded(loop, cfg.test_dataloader, 1).collate_fn is pseudo_collate

    @pytest.mark.parametrize(
        'kind, library', [('mmpretrain.X', 'c'), ('mmseg.X', 's'), ('RetinaNet', ''), (nn.Linear, '')]
    )
    def test_library_without_a_scope(self, kind, library):
        cfg = Config(dict(model=dict(type=kind)))
        assert (is_classifier(cfg), is_segmentor(cfg)) == (library == 'c', library == 's')
