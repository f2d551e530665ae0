"""Mixed precision on a CPU: what is computed in bfloat16, what stays in float32, and a run that resumes exactly."""

import copy
from contextlib import nullcontext

import pytest
import torch
from conftest import CONFIGS, demo_options
from mmengine.optim import build_optim_wrapper
from mmengine.optim.optimizer import AmpOptimWrapper
from torch import nn

from fishnet_mmdet.lab.benchmark.contenders import Contender, build
from fishnet_mmdet.lab.benchmark.measure import BackboneStep
from fishnet_mmdet.lab.benchmark.memory import memory_of
from fishnet_mmdet.lab.benchmark.tasks import TASKS
from fishnet_mmdet.training import cpu_amp
from fishnet_mmdet.training.console.summary import describe_device
from fishnet_mmdet.training.cpu_amp import CpuAmpOptimWrapper, parts_in_bfloat16
from fishnet_mmdet.training.launch import training as launch

DEMO = CONFIGS / 'mask_rcnn_fishnet_demo.py'


class Net(nn.Module):
    """A model with the parts of MMDetection's; it records the dtypes that its parts see."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 3, padding=1)
        self.neck = nn.Conv2d(8, 8, 1)
        self.head = nn.Conv2d(8, 2, 1)
        self.seen = {}
        for name, part in self.named_children():
            part.register_forward_hook(lambda m, i, o, name=name: self.seen.update({name: (i[0].dtype, o.dtype)}))

    def forward(self, x):
        return self.head(self.neck(self.backbone(x)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def wrapper(model, **options):
    optimizer = dict(type='SGD', lr=0.1)
    return build_optim_wrapper(model, dict(type='CpuAmpOptimWrapper', optimizer=optimizer, **options))


class Wrapped(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)


class TestWhatIsInBfloat16:
    @pytest.mark.parametrize(
        'wrap', [lambda net: net, Wrapped, lambda net: Wrapped(Wrapped(net))], ids=['plain', 'wrapped', 'twice wrapped']
    )
    def test_backbone_and_neck_and_no_more(self, net, wrap):
        model = wrap(net)
        with wrapper(model).optim_context(model):
            model(torch.randn(1, 3, 8, 8)).sum().backward()
        low, full = torch.bfloat16, torch.float32
        assert net.seen == dict(backbone=(full, low), neck=(full, low), head=(full, full))
        assert {p.grad.dtype for p in net.parameters()} == {full}

    def test_afterwards_all_is_float32(self, net):
        with parts_in_bfloat16(net):
            pass
        assert net(torch.randn(1, 3, 8, 8)).dtype == torch.float32 and net.seen['neck'][1] == torch.float32

    def test_an_error_in_a_part_switches_it_off(self, net):
        with parts_in_bfloat16(net), pytest.raises(RuntimeError):
            net(torch.randn(1, 4, 8, 8))
        assert not torch.is_autocast_enabled('cpu')

    def test_levels_stay_a_tuple(self):
        model = nn.Module()
        model.backbone = nn.Module()
        model.backbone.conv = nn.Conv2d(3, 4, 1)
        model.backbone.forward = lambda x: (model.backbone.conv(x), [x])
        with parts_in_bfloat16(model):
            first, (second,) = model.backbone(torch.ones(1, 3, 2, 2))
        assert first.dtype == second.dtype == torch.float32

    def test_gradients_are_those_of_float32_within_the_precision(self, net):
        twin, x = copy.deepcopy(net), torch.randn(2, 3, 16, 16)
        net(x).square().mean().backward()
        with parts_in_bfloat16(twin):
            loss = twin(x).square().mean()
        loss.backward()
        for ours, exact in zip(twin.parameters(), net.parameters(), strict=True):
            assert (ours.grad - exact.grad).norm() < 0.02 * exact.grad.norm()
        assert not torch.equal(twin.backbone.weight.grad, net.backbone.weight.grad)

    def test_backward_keeps_no_copies_of_weights(self, net):
        """The gradients are those of torch's autocast bit for bit."""
        twin, x = copy.deepcopy(net).requires_grad_(True), torch.randn(2, 3, 16, 16)
        with torch.autocast('cpu', torch.bfloat16):
            level = twin.neck(twin.backbone(x))
        twin.head(level.float()).square().mean().backward()

        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
            with parts_in_bfloat16(net):
                loss = net(x).square().mean()
        loss.backward()
        assert net.backbone.weight.shape not in kept and net.head.weight.shape in kept
        assert all(torch.equal(a.grad, b.grad) for a, b in zip(net.parameters(), twin.parameters(), strict=True))

    def test_bytes_of_a_backbone(self):
        """Maps of half the size, and nothing of the weights, which are most of what a small image needs."""
        task, image = TASKS['fixed'], torch.randn(1, 3, 64, 64)
        full, mixed = (
            BackboneStep(build(Contender('fishnet99', form), task, 'cpu'), task, image) for form in ('eager', 'amp')
        )
        for step in (full, mixed):
            step()
        assert memory_of(mixed.graph).kept < 0.55 * memory_of(full.graph).kept

    def test_a_weight_changed_before_backward_is_an_error(self, net):
        """As in float32: its value of the forward pass is gone."""
        with parts_in_bfloat16(net):
            loss = net(torch.randn(1, 3, 8, 8)).sum()
        with torch.no_grad():
            net.neck.weight.mul_(2)
        with pytest.raises(RuntimeError, match='changed in place between forward and backward'):
            loss.backward()

    def test_accumulates_like_its_base(self, net):
        optim, before = wrapper(net, accumulative_counts=2), net.head.bias.detach().clone()
        optim.initialize_count_status(net, 0, 4)
        for moved in (False, True):
            with optim.optim_context(net):
                loss = net(torch.ones(1, 3, 8, 8)).mean()
            optim.update_params(loss)
            assert (not torch.equal(net.head.bias, before)) == moved


def test_computes_in_bfloat16_where_the_weights_are(net, monkeypatch):
    """A config with this wrapper on an accelerator; a device without memory stands in for it."""
    asked = []
    monkeypatch.setattr(torch, 'autocast', lambda *kind: asked.append(kind) or nullcontext())
    with parts_in_bfloat16(net.to('meta')):
        net(torch.ones(1, 3, 8, 8, device='meta'))
    assert set(asked) == {('meta', torch.bfloat16)}


class TestWhatItSaysBeforeTheRun:
    @pytest.fixture
    def warnings_of(self, monkeypatch):
        """Returns what is logged when MMEngine hands over a model, just before the first iteration."""

        def hand_over(model, fast=True):
            lines = []
            monkeypatch.setattr(cpu_amp, 'has_fast_bfloat16', lambda: fast)
            monkeypatch.setattr(cpu_amp, 'print_log', lambda text, **_: lines.append(text))
            wrapper(model).initialize_count_status(model, 0, 4)
            return lines

        return hand_over

    def test_a_model_without_a_backbone(self, warnings_of, net):
        (line,) = warnings_of(nn.Sequential(nn.Linear(2, 2)))
        assert 'no effect' in line and 'Sequential has no submodule named `backbone`' in line
        assert not warnings_of(net)

    def test_the_summary_claims_nothing_for_it(self, net):
        cfg = launch.Config(dict(optim_wrapper=dict(type='CpuAmpOptimWrapper')))
        assert 'in bfloat16' in describe_device(net, cfg)
        assert describe_device(nn.Linear(2, 2), cfg).endswith('float32')

    @pytest.mark.parametrize('fast, warned', [(True, False), (None, False), (False, True)])
    def test_a_processor_without_bfloat16(self, fast, warned, warnings_of, net):
        assert any('has no instructions for bfloat16' in line for line in warnings_of(net, fast)) == warned

    @pytest.mark.parametrize(
        'flags, fast',
        [('fpu avx2 avx512f', False), ('avx512f avx512_bf16', True), ('amx_tile amx_bf16', True), ('asimd bf16', True)],
    )
    def test_what_linux_says_of_the_processor(self, flags, fast, tmp_path):
        (tmp_path / 'cpuinfo').write_text(f'processor\t: 0\nflags\t\t: {flags}\n')
        assert cpu_amp.has_fast_bfloat16(tmp_path / 'cpuinfo') is fast
        assert cpu_amp.has_fast_bfloat16(tmp_path / 'missing') is None


class TestTheSwitch:
    @pytest.mark.parametrize('device, kind', [('cpu', CpuAmpOptimWrapper), ('cuda', AmpOptimWrapper)])
    def test_chooses_by_device(self, device, kind, monkeypatch):
        monkeypatch.setattr(launch, 'get_device', lambda: device)
        cfg = launch.Config(dict(optim_wrapper=dict(type='OptimWrapper')))
        launch._use_mixed_precision(cfg)
        assert cfg.optim_wrapper.type == kind.__name__

    def test_settings_of_the_other_wrapper_are_dropped(self):
        options = dict(
            type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16', optimizer=dict(type='SGD', lr=0.1)
        )
        cfg = launch.Config(dict(optim_wrapper=options))
        launch._use_mixed_precision(cfg)
        assert isinstance(build_optim_wrapper(nn.Linear(2, 2), cfg.optim_wrapper), CpuAmpOptimWrapper)

    def test_a_run_resumes_exactly(self, demo_data, run_tool, tmp_path):
        options = [*demo_options(demo_data), 'train_cfg.max_epochs=2', 'default_hooks.checkpoint.max_keep_ckpts=-1']
        options += ['val_cfg=None', 'val_dataloader=None', 'val_evaluator=None']
        flags = ['--amp', '--work-dir', tmp_path, '--cfg-options', *options]
        states = []
        for more in ([], ['--resume']):
            done = run_tool('tools/train.py', DEMO, *more, *flags, cwd=tmp_path)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
            states.append(torch.load(tmp_path / 'epoch_2.pth', weights_only=True)['state_dict'])
            (tmp_path / 'epoch_2.pth').unlink()
        assert 'backbone and neck in bfloat16' in ' '.join(done.stdout.split())
        first, second = states
        assert all(torch.equal(value, second[key]) for key, value in first.items())
        assert {value.dtype for value in first.values()} == {torch.float32, torch.int64}
