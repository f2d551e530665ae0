"""What works on mmdet's ResNet works on FishNet: hooks, tracing, feature extraction, freezing, layer-wise decay."""

import pytest
import torch
import torch.fx
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from seeded import NARROW
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from fishnet_mmdet import FishNet
from fishnet_mmdet.network.blocks import PreActConv
from fishnet_mmdet.network.fishnet import KAIMING_INIT

FIXED = dict(norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True)
NORMS = pytest.mark.parametrize('norm', [{}, FIXED], ids=['live', 'fixed'])
GROUP_NORM = dict(norm_cfg=dict(type='GN', num_groups=2), frozen_stages=0)
TRACED_NORMS = pytest.mark.parametrize('norm', [{}, FIXED, GROUP_NORM], ids=['live', 'fixed', 'group'])


def build(**kwargs):
    torch.manual_seed(0)
    net = FishNet(NARROW, init_cfg=KAIMING_INIT, **kwargs)
    net.init_weights()
    return net


def assert_equal(some, others):
    for a, b in zip(some, others, strict=True):
        assert torch.equal(a, b)


def backward(net, image):
    sum(level.mean() for level in net(image)).backward()
    return [None if p.grad is None else p.grad.clone() for p in net.parameters()]


@NORMS
def test_full_backward_hooks_on_all_but_batchnorm(norm):
    """ResNet, whose ReLUs after BN are in place, forbids them on BN only."""
    image = torch.randn(2, 3, 64, 64)
    plain = backward(build(**norm).train(), image)
    net, called = build(**norm).train(), set()
    watched = {n for n, m in net.named_modules() if n and not isinstance(m, nn.BatchNorm2d | nn.ModuleList)}
    for name in watched:
        net.get_submodule(name).register_full_backward_hook(lambda m, i, o, name=name: called.add(name))
    for hooked, without in zip(backward(net, image), plain, strict=True):
        # Hooks change the order in which gradients are summed.
        assert (hooked is None) == (without is None)
        assert hooked is None or torch.allclose(hooked, without, rtol=1e-4, atol=1e-5)
    convolutions = {name for name in watched if isinstance(net.get_submodule(name), nn.Conv2d)}
    assert convolutions <= called


@NORMS
def test_forward_hooks_see_every_layer(norm):
    net, called = build(**norm).train(), set()
    layers = {n for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)}
    for name in layers:
        net.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: called.add(name))
    net(torch.randn(2, 3, 64, 64))
    assert called == layers


@TRACED_NORMS
@pytest.mark.parametrize('grad', [True, False])
def test_jit_trace_at_another_size(norm, grad):
    net = build(**norm).eval()
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(net, torch.randn(2, 3, 64, 64))
        image = torch.randn(1, 3, 96, 128)
        assert_equal(traced(image), net(image))


@TRACED_NORMS
def test_fx_and_feature_extraction(norm):
    net, image = build(**norm).eval(), torch.randn(1, 3, 64, 96)
    assert_equal(torch.fx.symbolic_trace(net)(image), net(image))
    features = create_feature_extractor(net, {'bridge': 'bridge', 'head.0.refine': 'finest'})(image)
    assert features['bridge'].shape == (1, 32, 2, 3)
    assert torch.equal(features['finest'], net(image)[0])


@pytest.mark.parametrize('options', [dict(channels_last=True), dict(with_cp='norm'), dict(with_cp=True)])
def test_tracers_with_every_option(options):
    net, image = build(**options).train(), torch.randn(2, 3, 64, 64)
    for trace in (torch.fx.symbolic_trace, lambda net: torch.jit.trace(net, image, check_trace=False)):
        assert_equal(trace(net)(image), net(image))


@NORMS
def test_gradients_of_single_images_by_torch_func(norm):
    net, images = build(**norm).eval(), torch.randn(2, 3, 64, 64)
    weights = {name: p for name, p in net.named_parameters() if p.requires_grad}

    def loss(weights, image):
        return sum(level.mean() for level in torch.func.functional_call(net, weights, (image[None],)))

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, images)
    for number, image in enumerate(images):
        net.zero_grad()
        loss(weights, image).backward()
        for name, weight in weights.items():
            torch.testing.assert_close(each[name][number], weight.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('with_cp', [False, 'norm', 'bottleneck', 'stage'])
def test_an_empty_batch(with_cp):
    levels = build(with_cp=with_cp)(torch.rand(0, 3, 64, 64))
    sum(level.sum() for level in levels).backward()
    assert [level.shape[0] for level in levels] == [0] * 4


def test_a_norm_that_returns_its_input():
    """As nn.Identity does, which takes the place of BN in some tools: the ReLU must not change the input."""
    nets = [build(), build()]
    for net, kind in zip(nets, (nn.Identity, Copy), strict=True):
        for conv in (m for m in net.modules() if isinstance(m, PreActConv)):
            conv.norm = kind()
    image = torch.randn(1, 3, 64, 64)
    assert_equal(nets[0].eval()(image), nets[1].eval()(image))


class Copy(nn.Module):
    def forward(self, x):
        return x.clone()


def test_export():
    net, image = build().eval(), torch.randn(1, 3, 64, 64)
    assert_equal(torch.export.export(net, (image,)).module()(image), net(image))


def test_frozen_stages_4_freezes_all():
    net = build(frozen_stages=4).train()
    assert not any(p.requires_grad for p in net.parameters())
    assert not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net(torch.randn(2, 3, 64, 64))
    assert_equal(before.values(), net.state_dict().values())


class TestLayerDepth:
    def test_follows_the_image(self):
        net = build()
        depths = [net.get_layer_depth(f'backbone.{name}', 'backbone.')[0] for name, _ in net.named_parameters()]
        assert depths == sorted(depths) and set(depths) == set(range(11))
        assert net.get_layer_depth('head.fc.weight', 'backbone.') == (11, 12)

    def test_mmpretrains_constructor_takes_it(self):
        import mmpretrain.engine  # noqa: F401  (registers the constructor)
        from mmpretrain.registry import MODELS

        head = dict(type='LinearClsHead', num_classes=3, in_channels=NARROW.out_channels[-1] // 2)
        neck = dict(type='FishNetNeck', in_channels=NARROW.out_channels[-1])
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(
                dict(type='ImageClassifier', backbone=dict(type='FishNet', arch=NARROW), neck=neck, head=head)
            )
        wrapper = build_optim_wrapper(
            model,
            dict(
                optimizer=dict(type='SGD', lr=1.0, weight_decay=0.1),
                constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor',
                paramwise_cfg=dict(layer_decay_rate=0.5),
            ),
        )
        rates = {group['param_name']: group['lr'] for group in wrapper.optimizer.param_groups}
        assert rates['head.fc.weight'] == 1.0
        assert rates['backbone.head.2.refine.0.conv.conv.weight'] == 0.5
        assert rates['backbone.stem.0.conv.weight'] == 0.5**11


def test_a_state_dict_cast_to_half_fits():
    """Counters are floats then, and infinite beyond 65,504."""
    from fishnet_mmdet.weights.fitting import fit

    net = build()
    counter = 'stem.0.norm.num_batches_tracked'
    state = {key: value.half() for key, value in net.state_dict().items()} | {
        counter: torch.tensor(float('inf')).half()
    }
    fitted = fit(state, net.state_dict(), 'it does not fit')
    assert fitted[counter].item() == 65504
    net.load_state_dict(fitted)
