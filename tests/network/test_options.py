"""The alternatives of the paper, FishNeXt, norms at the levels: each option changes the network, only as it says."""

from dataclasses import replace

import pytest
import torch
from seeded import NARROW
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet import ARCHS, FishNet, FishNetClassifier
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.network.arch import CHOICES, resolve_arch
from fishnet_mmdet.network.blocks import Bottleneck, PreActConv
from fishnet_mmdet.network.fishnet import KAIMING_INIT

IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
DEFAULT = {'stem': 'conv3x3', 'down': 'max2', 'up': 'nearest', 'dilation': 'body', 'attention': 'se', 'levels': 'sum'}
OPTIONS = [(field, value) for field, values in CHOICES.items() for value in values if value != DEFAULT[field]]
OPTIONS += [('group_width', 1), ('stem_stride', 2), ('stem_stride', 1)]


def build(**options):
    torch.manual_seed(0)
    net = FishNet(replace(NARROW, **options), init_cfg=KAIMING_INIT)
    net.init_weights()
    return net


def convolutions(part, kernel=3):
    return [m for m in part.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (kernel, kernel)]


@pytest.mark.parametrize('field, value', OPTIONS)
def test_trains_and_is_not_the_released_network(field, value):
    """Forward and backward, a gradient in every parameter; another answer than the released layout gives."""
    net, released = build(**{field: value}), build()
    levels = net.train()(IMAGE)
    sum(level.square().mean() for level in levels).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert tuple(level.shape[1] for level in levels) == net.out_channels == released.out_channels
    same_keys = {k: v.shape for k, v in net.state_dict().items()} == {
        k: v.shape for k, v in released.state_dict().items()
    }
    if same_keys:  # then it must be the wiring that differs
        net.load_state_dict(released.state_dict())
    ours, theirs = net.eval()(IMAGE)[-1], released.eval()(IMAGE)[-1]
    assert not same_keys or ours.shape != theirs.shape or not torch.allclose(ours, theirs)


@pytest.mark.parametrize('down', CHOICES['down'])
@pytest.mark.parametrize('height, width', [(64, 96), (33, 97), (72, 71)])
def test_down_sampling_takes_any_size(down, height, width):
    levels = build(down=down).eval()(torch.rand(1, 3, height, width))
    assert len(levels) == 4


@pytest.mark.parametrize(
    'down, kind',
    [('max2', nn.MaxPool2d), ('max3', nn.MaxPool2d), ('avg2', nn.AvgPool2d), ('conv', PreActConv)],
)
def test_down_sampling_in_tail_and_head(down, kind):
    net = build(down=down)
    stages = [*net.tail, *net.head]
    assert all(isinstance(stage.down, kind) for stage in stages)
    if kind is not PreActConv:
        assert {stage.down.kernel_size for stage in stages} == {int(down[-1])}


@pytest.mark.parametrize(
    'dilation, body, head',
    [('none', [1, 1, 1], [1, 1, 1]), ('body', [1, 2, 4], [1, 1, 1]), ('body_head', [1, 2, 4], [4, 2, 1])],
)
def test_dilation(dilation, body, head):
    net = build(dilation=dilation)
    for stages, expected in ((net.body, body), (net.head, head), (net.tail, [1, 1, 1])):
        for stage, rate in zip(stages, expected, strict=True):
            assert {conv.dilation for conv in convolutions(stage.refine)} == {(rate, rate)}
        if hasattr(stages[0], 'transfer'):
            assert all(c.dilation == (1, 1) for stage in stages for c in convolutions(stage.transfer))


def test_stems():
    assert [len(convolutions(build(stem=s).stem)) for s in ('conv3x3', 'conv7x7', 'residual')] == [3, 0, 3]
    assert len(convolutions(build(stem='conv7x7').stem, kernel=7)) == 1
    assert sum(isinstance(m, Bottleneck) for m in build(stem='residual').stem) == 2


def test_attention_and_up_sampling():
    assert not any('attention' in key for key in build(attention='none').state_dict())
    smooth, sharp = build(up='bilinear').body[0], build().body[0]
    smooth.load_state_dict(sharp.state_dict())
    x, skip = torch.rand(1, 32, 2, 2), torch.rand(1, 16, 4, 4)
    ours, theirs = smooth.eval()(x, skip), sharp.eval()(x, skip)
    assert torch.equal(ours[:, 32:], theirs[:, 32:])  # the transferred feature
    assert torch.equal(theirs[:, :32, ::2, ::2], theirs[:, :32, 1::2, 1::2])
    assert not torch.equal(ours[:, :32, ::2, ::2], ours[:, :32, 1::2, 1::2])


class TestFishNeXt:
    """Paper 4.2: half as wide inside, groups of 4, 8, 16, 32 channels by the resolution a block works at."""

    def test_parameters(self):
        with torch.device('meta'):
            counts = {n: sum(p.numel() for p in FishNetClassifier(n).parameters()) for n in ARCHS}
        assert counts['fishnext150'] == 25_738_024

    @pytest.mark.parametrize('name', [name for name in ARCHS if 'fishnext' in name])
    def test_groups(self, name):
        with torch.device('meta'):
            net = FishNet(name)
        blocks = [(net.bridge.refine, 32)]
        blocks += [(stage.refine, g) for stage, g in zip(net.tail, (4, 8, 16), strict=True)]
        blocks += [(stage.refine, g) for stage, g in zip(net.body, (32, 16, 8), strict=True)]
        blocks += [(stage.transfer, g) for stage, g in zip(net.body, (16, 8, 4), strict=True)]
        blocks += [(stage.refine, g) for stage, g in zip(net.head, (4, 8, 16), strict=True)]
        blocks += [(stage.transfer, g) for stage, g in zip(net.head, (8, 16, 32), strict=True)]
        for sequence, width in blocks:
            for block in sequence:
                conv = block.conv.conv
                assert conv.in_channels == block.expand.conv.out_channels // 2
                assert conv.in_channels // conv.groups == width

    def test_the_winner_is_a_reconstruction_of_its_size(self):
        with torch.device('meta'):
            net = FishNetClassifier('fishnext229')
        assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == 229

    @pytest.mark.parametrize('width', [3, 32])
    def test_groups_that_do_not_divide_are_named(self, width):
        with pytest.raises(ValueError, match='group'):
            resolve_arch(dict(base='fishnet150', group_width=width))


def test_strided_convolutions_cost_what_the_paper_says():
    """The paper's network grew from 26.4 to 30.2 million parameters (+3.8); the released layout grows by 3.7."""
    with torch.device('meta'):
        counts = [
            sum(p.numel() for p in FishNetClassifier(dict(base='fishnet150', down=down)).parameters())
            for down in ('max2', 'conv')
        ]
    assert counts == [24_959_400, 28_665_384]


@pytest.mark.parametrize('field', DEFAULT)
def test_an_unknown_choice_lists_the_known(field):
    with pytest.raises(ValueError, match=f'arch.{field} = .*{CHOICES[field][-1]}'):
        resolve_arch(dict(base='fishnet150', **{field: 'other'}))


class TestWidth:
    def test_multiplies_every_width(self):
        half = resolve_arch(dict(base='fishnet150', width=0.5))
        assert half.out_channels == (160, 416, 800, 1056) and half.tail == ARCHS['fishnet150'].tail
        assert resolve_arch(dict(base='150', width=1)) == ARCHS['fishnet150']

    @pytest.mark.parametrize('width', [0, -1, 'wide', 0.3, 0.01])
    def test_a_width_that_cannot_be_is_named(self, width):
        with pytest.raises(ValueError, match='width'):
            resolve_arch(dict(base='fishnet150', width=width))

    def test_an_unknown_base(self):
        with pytest.raises(ValueError, match='fishnet150'):
            resolve_arch(dict(base='resnet50'))


@pytest.mark.parametrize('norm', [dict(type='GN', num_groups=2), dict(type='SyncBN'), dict(type='BN', eps=1e-3)])
def test_norms_reach_all_five_parts(norm):
    net = FishNet(NARROW, norm_cfg=norm)
    kinds = {'GN': nn.GroupNorm, 'SyncBN': nn.SyncBatchNorm, 'BN': nn.BatchNorm2d}
    for part in (net.stem, *net.tail, net.bridge, *net.body, *net.head):
        norms = [m for m in part.modules() if isinstance(m, nn.GroupNorm | _BatchNorm)]
        assert norms and all(isinstance(m, kinds[norm['type']]) for m in norms)
        if 'eps' in norm:
            assert {m.eps for m in norms} == {1e-3}


@pytest.mark.parametrize('groups', [{}, dict(num_groups=None), dict(num_groups=0), dict(num_groups=3)])
def test_groups_that_cannot_be_are_refused_with_one_that_can(groups):
    with pytest.raises(ConfigError, match=r"num_groups = .* norm_cfg=dict\(type='GN', num_groups="):
        FishNet(NARROW, norm_cfg=dict(type='GN', **groups))


@pytest.mark.parametrize(
    'arguments',
    [dict(frozen_stages=1.0), dict(frozen_stages=True), dict(out_indices=(0.0, 1.0)), dict(out_indices=(True,))],
)
def test_numbers_that_are_not_integers_are_refused(arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        FishNet(NARROW, **arguments)


def test_the_memory_format_changes_no_random_weight():
    states = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        net = FishNet(NARROW, channels_last=channels_last)
        net.init_weights()
        states.append(net.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_levels_have_a_norm_each_and_are_not_negative():
    net = FishNet(replace(NARROW, levels='norm_relu'), out_indices=(1, 3)).train()
    assert [norm.num_features for norm in net.levels] == list(net.out_channels)
    assert all((level >= 0).all() for level in net(IMAGE))
    assert not [key for key in FishNet(NARROW).state_dict() if key.startswith('levels')]


def test_random_weights_start_as_shortcuts():
    """Each bottleneck is its shortcut, every other weight is Kaiming's, and the zeros learn."""
    kaiming = build()
    torch.manual_seed(0)
    net = FishNet(NARROW)
    net.init_weights()
    blocks = {name: block for name, block in net.named_modules() if isinstance(block, Bottleneck)}
    zeros = {f'{name}.expand.conv.weight' for name in blocks}
    state = net.state_dict()
    assert {key for key, value in kaiming.state_dict().items() if not torch.equal(value, state[key])} == zeros
    for block in blocks.values():
        x = torch.randn(2, block.squeeze.conv.in_channels, 5, 6)
        assert torch.equal(block(x), block.shortcut(x))
    sum(level.square().mean() for level in net.train()(IMAGE)).backward()
    assert all(net.get_parameter(key).grad.any() for key in zeros)


def test_zeros_at_the_start_alone():
    """As an entry of the user's own `init_cfg`."""
    net = FishNet(NARROW, init_cfg=[dict(type='Kaiming', layer='Conv2d'), dict(type='ZeroResiduals')])
    net.init_weights()
    assert not net.head[0].refine[0].expand.conv.weight.any()
    assert net.head[0].refine[0].conv.conv.weight.any()
