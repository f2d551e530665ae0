"""Norm, ReLU and convolution in one operation against torch's plain modules; versions of torch without its parts."""

import copy
import runpy
import sys

import pytest
import torch
from ops_case import LAYOUTS, kept_by, leaf, norm_of
from torch.autograd import gradcheck
from torch.nn.utils import prune

from fishnet_mmdet.network.blocks import PreActConv
from fishnet_mmdet.network.ops.norm_relu_conv import norm_relu_conv

GEOMETRIES = {
    '1x1': dict(kernel_size=1),
    '3x3': dict(kernel_size=3, bias=True),
    'dilated': dict(kernel_size=3, dilation=2),
    'groups': dict(kernel_size=3, groups=4, bias=True),
    'stride': dict(kernel_size=1, stride=2),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class TestNormReLUConv:
    """The 'norm' grain of `with_cp`, as the pre-activation convolution of which all the fish is made."""

    def pair(self, norm='live', geometry='3x3', dtype=torch.float32, **build):
        plain = PreActConv(8, 12, norm_cfg=dict(type='BN', **build), **GEOMETRIES[geometry])
        plain.norm.load_state_dict(norm_of(8).state_dict())
        plain.to(dtype).train()
        if norm != 'live':
            plain.norm.eval()
        if norm == 'fixed':
            plain.norm.requires_grad_(False)
        lean = copy.deepcopy(plain)
        lean.with_cp = True
        return plain, lean

    def step(self, part, x, out=None):
        x = x.detach().requires_grad_()
        y = part(x)
        y.backward(torch.ones_like(y) if out is None else out.to(y.dtype))
        return y.detach(), {
            'x': x.grad,
            **{k: p.grad for k, p in part.named_parameters() if p.grad is not None},
        }

    def test_pruning_and_hooks_work(self):
        plain, lean = self.pair('live', '3x3')
        calls = []
        for part in (plain, lean):
            prune.l1_unstructured(part.conv, 'weight', amount=0.5)
            part.norm.register_forward_hook(lambda *_: calls.append(1))
        for _ in range(2):
            x = torch.randn(3, 8, 9, 10)
            (ours, grads), (theirs, expected) = self.step(lean, x), self.step(plain, x)
            assert torch.equal(ours, theirs) and grads.keys() == expected.keys()
        assert len(calls) == 4 + 2  # torch's checkpoint calls again in backward

    @pytest.mark.parametrize('layout', LAYOUTS)
    @pytest.mark.parametrize('geometry', GEOMETRIES)
    @pytest.mark.parametrize('norm', ['live', 'eval', 'fixed'])
    def test_equals_torch(self, norm, geometry, layout):
        plain, lean = (part.to(memory_format=layout) for part in self.pair(norm, geometry))
        for _ in range(2):
            x = torch.randn(3, 8, 9, 10).contiguous(memory_format=layout)
            out = torch.randn_like(plain(x).detach())
            lean.norm.load_state_dict(plain.norm.state_dict())
            for part in (plain, lean):
                part.zero_grad()
            (y, grads), (ours, own) = self.step(plain, x, out), self.step(lean, x, out)
            assert torch.equal(y, ours)
            assert grads.keys() == own.keys()
            assert ('norm.weight' in grads) == (norm != 'fixed')
            for key, grad in grads.items():
                torch.testing.assert_close(own[key], grad, rtol=1e-5, atol=1e-4 if key != 'x' else 1e-5)
            for key, value in plain.norm.named_buffers():
                assert torch.equal(value, dict(lean.norm.named_buffers())[key]), key

    def test_statistics_are_updated_once(self):
        _, lean = self.pair()
        before, x = lean.norm.running_mean.clone(), torch.randn(3, 8, 9, 10)
        self.step(lean, x)
        assert lean.norm.num_batches_tracked == 1
        torch.testing.assert_close(lean.norm.running_mean, 0.9 * before + 0.1 * x.mean((0, 2, 3)))

    @pytest.mark.parametrize('norm', ['live', 'eval', 'fixed'])
    def test_under_amp(self, norm):
        plain, lean = self.pair(norm)
        exact = copy.deepcopy(plain).double()
        for dtype in (torch.float32, torch.bfloat16):
            for part in (plain, lean, exact):
                part.zero_grad()
            x, out = torch.randn(3, 8, 9, 10).to(dtype), torch.randn(3, 12, 9, 10)
            _, truth = self.step(exact, x.double(), out)
            with torch.autocast('cpu', torch.bfloat16):
                (y, theirs), (z, ours) = self.step(plain, x, out), self.step(lean, x, out)
            assert torch.equal(y, z) and y.dtype == torch.bfloat16
            assert ours.keys() == theirs.keys()
            for key, grad in ours.items():
                assert grad.dtype == theirs[key].dtype
                error, allowed = ((g.double() - truth[key]).norm() for g in (grad, theirs[key]))
                assert error <= 1.2 * allowed + 1e-6, key
            assert all(map(torch.equal, plain.buffers(), lean.buffers()))

    def test_keeps_its_input_alone(self):
        _, lean = self.pair()
        own = {p.data_ptr() for p in lean.parameters()}
        x = leaf(4, 8, 32, 32)
        kept, _ = kept_by(lambda: lean(x))
        kept = [t for t in kept if t.data_ptr() not in own]
        assert sorted(t.numel() for t in kept) == [8, 8, x.numel()]  # the batch's mean and 1 / deviation
        assert x.data_ptr() in {t.data_ptr() for t in kept}

    @pytest.mark.parametrize('norm', ['live', 'eval', 'fixed'])
    @pytest.mark.parametrize('geometry', ['3x3', 'groups', 'stride'])
    def test_gradcheck(self, norm, geometry):
        plain, lean = self.pair(norm, geometry, torch.float64)
        inputs = [torch.randn(2, 8, 3, 4, dtype=torch.float64, requires_grad=True)]
        inputs += [p for p in lean.parameters() if p.requires_grad]
        assert gradcheck(lambda x, *_: norm_relu_conv(lean.norm, lean.conv, x), inputs)

    @pytest.mark.parametrize('frozen', ['conv', 'norm', 'input', 'all but the bias'])
    def test_gradients_of_some_only(self, frozen):
        plain, lean = self.pair(geometry='3x3')
        x = torch.randn(2, 8, 5, 5)
        results = []
        for part in (plain, lean):
            inputs = x.clone().requires_grad_(frozen in ('conv', 'norm'))
            if frozen == 'all but the bias':
                part.requires_grad_(False).conv.bias.requires_grad_()
            elif frozen != 'input':
                getattr(part, frozen).requires_grad_(False)
            part(inputs).square().sum().backward()
            results.append([inputs.grad, *(p.grad for p in part.parameters())])
        for theirs, ours in zip(*results, strict=True):
            assert (theirs is None) == (ours is None)
            if ours is not None:
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize(
        'norm_cfg',
        [
            dict(type='GN', num_groups=2),
            dict(type='BN', momentum=None),
            dict(type='BN', track_running_stats=False),
        ],
        ids=['GN', 'cumulative', 'no statistics'],
    )
    def test_other_norms_take_torch_s_checkpoint(self, norm_cfg):
        plain = PreActConv(8, 12, 3, norm_cfg).train()
        lean = copy.deepcopy(plain)
        lean.with_cp = True
        for _ in range(2):
            x = torch.randn(2, 8, 6, 6)
            (y, theirs), (z, ours) = self.step(plain, x), self.step(lean, x)
            assert torch.equal(y, z)
            assert all(torch.equal(theirs[k], ours[k]) for k in theirs)
            assert all(map(torch.equal, plain.buffers(), lean.buffers()))
        map_, other = (sum(t.numel() for t in kept_by(lambda p=p: p(leaf(4, 8, 32, 32)))[0]) for p in (lean, plain))
        assert map_ < 0.6 * other

    def test_eval_and_no_grad(self):
        plain, lean = self.pair()
        x = torch.randn(2, 8, 6, 6)
        with torch.no_grad():
            assert torch.equal(plain(x), lean(x))  # in training: running statistics move
        assert all(map(torch.equal, plain.buffers(), lean.buffers())) and lean.norm.num_batches_tracked == 1
        plain.eval(), lean.eval()
        y = lean(x.requires_grad_())
        assert torch.equal(plain(x), y) and 'Conv' in type(y.grad_fn).__name__
        assert 'NormReLU' not in type(y.grad_fn).__name__


class TestOlderTorch:
    """What these operations use of torch has come one by one."""

    def test_before_2_4_the_norm_grain_is_torchs_checkpoint(self, monkeypatch):
        plain, lean = TestNormReLUConv().pair()
        monkeypatch.setattr('fishnet_mmdet.network.ops.norm_relu_conv.KNOWS_AUTOCAST', False)
        x = torch.randn(3, 8, 9, 10)
        (y, grads), (ours, own) = (TestNormReLUConv().step(part, x) for part in (plain, lean))
        assert torch.equal(y, ours) and grads.keys() == own.keys()
        assert all(torch.equal(grads[key], own[key]) for key in grads)

    def test_before_2_1_live_norms_cannot_be_recomputed(self, monkeypatch):
        from fishnet_mmdet.network.ops import recompute

        monkeypatch.setattr(recompute, 'TAKES_CONTEXTS', False)
        monkeypatch.setattr('fishnet_mmdet.network.ops.norm_relu_conv.KNOWS_AUTOCAST', False)
        _, lean = TestNormReLUConv().pair()
        with pytest.raises(ValueError, match='with_cp under live BN needs torch 2.1 or newer'):
            lean(torch.randn(1, 8, 9, 10))

    def test_before_2_1_dynamo_knows_what_is_compiled(self, monkeypatch):
        from fishnet_mmdet.network.ops import compiling

        monkeypatch.setitem(sys.modules, 'torch.compiler', None)
        older = runpy.run_path(compiling.__file__)['is_compiling']
        assert older.__module__.startswith('torch._dynamo') and older() is False
