"""The backbone through its public interface, in small; counts of the real ones on the meta device."""

import pytest
import torch
from mmdet.utils import register_all_modules
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet import FishNet, FishNetClassifier
from fishnet_mmdet.network.arch import CHOICES, PUBLISHED
from fishnet_mmdet.network.blocks import Bottleneck, ChannelReduction, PreActConv
from fishnet_mmdet.network.fishnet import KAIMING_INIT

NARROW = dict(
    tail=(2, 1, 2), bridge=2,
    body=(2, 1, 1), body_transfer=(1, 2, 1),
    head=(1, 1, 2), head_transfer=(1, 1, 2),
    stem_width=8, tail_widths=(8, 16, 32), body_widths=(32, 24, 16),
)  # fmt: skip
FIXED = dict(type='BN', requires_grad=False)


def narrow(arch=NARROW, **kwargs):
    torch.manual_seed(0)
    net = FishNet(arch, **dict(init_cfg=KAIMING_INIT) | kwargs)
    net.init_weights()
    return net


def convolutions(module):
    """Multiply-adds of a convolution, filled in when the network runs; a linear layer counts as one."""
    return [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize('name', PUBLISHED)
class TestReleasedNetworks:
    def test_counts(self, name):
        with torch.device('meta'):
            net = FishNetClassifier(name)
        assert sum(p.numel() for p in net.parameters()) == PUBLISHED[name].parameters
        assert len(convolutions(net)) == PUBLISHED[name].convolutions

    def test_gmacs(self, name):
        total = 0

        def count(layer, _, output):
            nonlocal total
            total += output.numel() * layer.weight[0].numel()

        with torch.device('meta'):
            net = FishNetClassifier(name).eval()
            for layer in convolutions(net):
                layer.register_forward_hook(count)
            net(torch.empty(1, 3, 224, 224))
        assert round(total / 1e9, 3) == PUBLISHED[name].conv_gmacs
        assert total / 1e9 == pytest.approx(PUBLISHED[name].released_gmacs, rel=0.02)

    def test_channels_and_strides(self, name):
        with torch.device('meta'):
            net = FishNet(name)
            levels = net.eval()(torch.empty(2, 3, 128, 192))
        assert net.out_channels == (320, 832, 1600, 2112)
        assert net.out_strides == (4, 8, 16, 32)
        expected = [(2, c, 128 // s, 192 // s) for c, s in zip(net.out_channels, net.out_strides, strict=True)]
        assert [tuple(level.shape) for level in levels] == expected

    def test_i_convs(self, name):
        """Three in the tail, one in the bridge, none in body and head, where the UR units reduce channels."""
        with torch.device('meta'):
            net = FishNet(name)

        def shortcuts(part, kind):
            return sum(isinstance(m, Bottleneck) and isinstance(m.shortcut, kind) for m in part.modules())

        parts = (net.tail, net.bridge, net.body, net.head)
        assert [shortcuts(part, PreActConv) for part in parts] == [3, 1, 0, 0]
        assert [shortcuts(part, ChannelReduction) for part in parts] == [0, 0, 2, 0]


@pytest.mark.parametrize(
    'name, parts',
    [  # a published reading of the authors' code, convolution by convolution
        ('fishnet99', [3, 7, 7, 19, 11, 6, 6, 6, 6, 9, 18, 2]),
        ('fishnet150', [3, 7, 13, 25, 17, 12, 12, 12, 12, 12, 24, 2]),
    ],
)
def test_convolutions_of_each_part(name, parts):
    with torch.device('meta'):
        net = FishNetClassifier(name)
    fish = net.backbone
    rest = nn.ModuleList([net.neck, net.head])
    counted = [len(convolutions(p)) for p in (fish.stem, *fish.tail, fish.bridge, *fish.body, *fish.head, rest)]
    assert counted == parts


@pytest.mark.parametrize('down', CHOICES['down'])
@pytest.mark.parametrize(
    'height, width', [(32, 32), (33, 97), (72, 72), (35, 64), (127, 33), (1, 1), (5, 31), (97, 97)]
)
def test_sides_round_up_at_every_level(height, width, down):
    """Level i of H x W has ceil(H / s) x ceil(W / s), as ResNet's levels have."""
    net = FishNet({**NARROW, 'down': down}).eval()
    for level, stride in zip(net(torch.rand(1, 3, height, width)), net.out_strides, strict=True):
        assert level.shape[-2:] == (-(-height // stride), -(-width // stride))


@pytest.mark.parametrize('stem_stride', [1, 2, 4])
def test_small_images_train(stem_stride):
    net = FishNet({**NARROW, 'stem_stride': stem_stride}).train()
    sum(level.square().mean() for level in net(torch.rand(2, 3, 9, 17))).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_an_odd_image_is_seen_to_its_border():
    """Up-sampling to the skip's size must not cut or shift: all of the input reaches the finest level."""
    net = narrow().eval().double()
    image = torch.rand(1, 3, 45, 51, dtype=torch.float64, requires_grad=True)
    net(image)[0].sum().backward()
    assert (image.grad.abs().sum((0, 1, 2)) > 0).all() and (image.grad.abs().sum((0, 1, 3)) > 0).all()


def test_pafpn_without_padding_trains_at_97_pixels():
    """mmdet's PAFPN adds levels of sides ceil(H / s); a backbone that rounds down fails there."""
    register_all_modules(init_default_scope=False)
    net = narrow().train()
    neck = MODELS.build(dict(type='mmdet.PAFPN', in_channels=list(net.out_channels), out_channels=8, num_outs=4))
    outs = neck(net(torch.rand(2, 3, 97, 97)))
    assert [tuple(out.shape[-2:]) for out in outs] == [(25, 25), (13, 13), (7, 7), (4, 4)]
    sum(out.square().mean() for out in outs).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_every_parameter_gets_a_gradient():
    net = narrow().train()
    sum(level.square().mean() for level in net(torch.rand(2, 3, 64, 64))).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize('down', ['max2', 'conv'])
@pytest.mark.parametrize('out_indices', [(0,), (1, 2), (3,), (0, 2)])
def test_a_subset_of_levels(out_indices, down):
    """The chosen levels are those of the full set, and whatever still trains gets a gradient (DDP needs it)."""
    full, some = (narrow({**NARROW, 'down': down}, **more) for more in ({}, dict(out_indices=out_indices)))
    full.eval()
    image = torch.rand(1, 3, 64, 64)
    for index, level in zip(out_indices, some.eval()(image), strict=True):
        assert torch.equal(level, full(image)[index])
    assert some.out_channels == tuple(full.out_channels[i] for i in out_indices)
    assert some.out_strides == tuple(4 * 2**i for i in out_indices)

    sum(level.square().mean() for level in some.train()(torch.rand(2, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in some.parameters() if p.requires_grad)
    assert all(p.grad is None for p in some.parameters() if not p.requires_grad)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 2, 3])
def test_frozen_stages_stay_frozen(frozen_stages):
    net = narrow(frozen_stages=frozen_stages)
    for mode in (True, False, True):
        net.train(mode)
    parts = [net.stem, *net.tail]
    for stage, part in enumerate(parts):
        frozen = stage <= frozen_stages
        assert all(p.requires_grad != frozen for p in part.parameters()), stage
        assert all(m.training != frozen for m in part.modules() if isinstance(m, _BatchNorm)), stage

    before = {k: v.clone() for k, v in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
    sum(level.mean() for level in net(torch.rand(2, 3, 64, 64))).backward()
    optimizer.step()
    after = net.state_dict()
    names = ['stem', 'tail.0', 'tail.1', 'tail.2']
    for stage, name in enumerate(names):
        same = all(torch.equal(before[k], after[k]) for k in before if k.startswith(name + '.'))
        assert same == (stage <= frozen_stages), name


def test_fixed_bn():
    net = narrow(norm_cfg=FIXED, norm_eval=True).train()
    layers = [m for m in net.modules() if isinstance(m, _BatchNorm)]
    assert layers and not any(m.training for m in layers)
    assert not any(p.requires_grad for m in layers for p in m.parameters())
    assert all(c.weight.requires_grad for c in convolutions(net))


def test_norm_eval_alone_keeps_the_affine_part_learning():
    net = narrow(norm_eval=True).train()
    layers = [m for m in net.modules() if isinstance(m, _BatchNorm)]
    assert not any(m.training for m in layers) and all(p.requires_grad for m in layers for p in m.parameters())


def test_norm_cfg_reaches_every_norm():
    net = narrow(norm_cfg=dict(type='GN', num_groups=2))
    assert not [m for m in net.modules() if isinstance(m, _BatchNorm)]
    assert len([m for m in net.modules() if isinstance(m, nn.GroupNorm)]) == len(
        [m for m in narrow().modules() if isinstance(m, _BatchNorm)]
    )
    assert all(level.isfinite().all() for level in net.train()(torch.rand(1, 3, 64, 64)))


def test_in_channels():
    assert narrow(in_channels=1)(torch.rand(2, 1, 64, 64))[0].shape == (2, 24, 16, 16)


@pytest.mark.parametrize('norm', [dict(), dict(norm_cfg=FIXED, norm_eval=True)], ids=['live', 'fixed'])
def test_with_cp_changes_memory_only(norm):
    """Features, gradients and running statistics equal; fewer bytes kept for backward."""
    image = torch.rand(2, 3, 64, 64)
    kept, runs = [], []
    for with_cp in (False, True):
        net = narrow(with_cp=with_cp, **norm).train()
        storages = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, s=storages: (
                s.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}),
                t,
            )[1],
            lambda t: t,
        ):
            levels = net(image)
        kept.append(sum(storages.values()))
        sum(level.square().mean() for level in levels).backward()
        gradients = {k: p.grad for k, p in net.named_parameters() if p.grad is not None}
        runs.append((levels, gradients, dict(net.named_buffers())))
    assert kept[1] < 0.7 * kept[0]
    (plain_levels, *plain), (cp_levels, *checkpointed) = runs
    assert all(torch.equal(a, b) for a, b in zip(plain_levels, cp_levels, strict=True))
    for a, b in zip(plain, checkpointed, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_seeded_init_is_repeatable_and_kaiming():
    net, again = narrow(), narrow()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    wide = FishNet('fishnet99').tail[2].refine[1].conv.conv
    nn.init.kaiming_normal_(wide.weight, mode='fan_out', nonlinearity='relu')
    expected = wide.weight.std().item()
    net = FishNet('fishnet99')
    net.init_weights()
    assert net.tail[2].refine[1].conv.conv.weight.std().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    'kwargs, named',
    [
        (dict(arch='fishnet50'), 'arch.*fishnet99, fishnet150, fishnet201'),
        (dict(in_channels=0), 'in_channels'),
        (dict(in_channels='3'), 'in_channels'),
        (dict(out_indices=()), 'out_indices.*0, 1, 2, 3'),
        (dict(out_indices=(0, 4)), 'out_indices'),
        (dict(out_indices=(1, 0)), 'out_indices'),
        (dict(out_indices=(1, 1)), 'out_indices'),
        (dict(out_indices=2), 'out_indices'),
        (dict(frozen_stages=5), 'frozen_stages.*-1.*4'),
        (dict(frozen_stages=-2), 'frozen_stages'),
        (dict(norm_cfg=dict(requires_grad=False)), 'norm_cfg.*type'),
        (dict(norm_cfg='BN'), 'norm_cfg'),
    ],
)
def test_a_wrong_argument_is_named(kwargs, named):
    with pytest.raises(ValueError, match=named):
        FishNet(**{'arch': NARROW, **kwargs})


@pytest.mark.parametrize('package', ['mmdet', 'mmpretrain', 'mmseg'])
def test_every_family_finds_it(package):
    registry = __import__(f'{package}.registry', fromlist=['MODELS'])
    for type_ in ('FishNet', 'mmengine.FishNet'):
        assert isinstance(registry.MODELS.build(dict(type=type_, arch=NARROW)), FishNet)
