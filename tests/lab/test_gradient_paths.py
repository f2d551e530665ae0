"""The claim about gradients: it holds for the released architectures, and each way of breaking it is reported."""

import re
from dataclasses import replace

import pytest
import torch
from conftest import CONFIGS
from seeded import NARROW
from torch import nn

from fishnet_mmdet import ARCHS, FishNet
from fishnet_mmdet.lab.figures.backbones import FigureError, build_backbone, read_backbone
from fishnet_mmdet.lab.figures.gradients import analyse, claim_fails, i_convs, parts, table
from fishnet_mmdet.network.blocks import PreActConv

BN = dict(type='BN')
FOUR = [*(f'tail.{i}.refine.0.shortcut.conv' for i in range(3)), 'bridge.refine.0.shortcut.conv']


NARROW_STEM = replace(NARROW, stem_width=4)  # every tail stage widens, as in the released architectures


def narrow(arch=None, **kwargs):
    torch.manual_seed(0)
    return FishNet(replace(NARROW_STEM, **(arch or {})), **kwargs)


def by_name(findings):
    return {f.name: f for f in findings}


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize('arch', [*ARCHS, NARROW_STEM], ids=[*ARCHS, 'narrow'])
def test_the_claim_holds(arch):
    findings = analyse(FishNet(arch))
    assert claim_fails(findings) == []
    assert i_convs(findings) == FOUR
    grouped = parts(findings)
    assert [(part, len(i_convs(group))) for part, group in grouped.items()] == [
        ('stem', 0),
        ('tail', 3),
        ('bridge', 1),
        ('body', 0),
        ('head', 0),
    ]
    for f in (*grouped['body'], *grouped['head']):
        assert f.trunk.is_free
        assert set(f.trunk.free) <= {
            'identity',
            'channel reduction',
            'concatenation',
            'max-pool',
            'up-sampling',
        }
    resolved = ARCHS[arch] if isinstance(arch, str) else arch
    assert [f.trunk.free['identity'] for f in grouped['head']] == list(resolved.head)
    reduced = [f.trunk.free['channel reduction'] for f in grouped['body']]
    assert reduced == [0, 1, 1]
    identities = [f.trunk.free['identity'] for f in grouped['body']]
    assert identities == [blocks - r for blocks, r in zip(resolved.body, reduced, strict=True)]


def test_only_the_last_tail_stage_lies_behind_weights():
    """What the bridge holds: its I-conv, the squeezing and expanding convolutions, the product with the attention."""
    findings = by_name(analyse(narrow()))
    assert [name for name, f in findings.items() if not f.arrives] == ['tail 3']
    last = findings['tail 3'].to_output
    assert last.i_convs == ('bridge.refine.0.shortcut.conv',)
    assert set(last.plain) == {'bridge.squeeze.conv', 'bridge.expand.conv'}
    bridge = findings['bridge'].trunk
    assert (bridge.i_convs, bridge.plain) == (last.i_convs, last.plain)
    assert 'product' in bridge.others


@pytest.mark.parametrize('depth, blocks, widening', [(18, [2, 2, 2, 2], (2, 3, 4)), (50, [3, 4, 6, 3], (1, 2, 3, 4))])
def test_a_resnet_has_one_where_a_layer_widens_and_blocks_what_lies_before(depth, blocks, widening):
    name, config = read_backbone(f'resnet{depth}')
    assert name == f'resnet{depth}'
    findings = analyse(build_backbone(config))
    assert i_convs(findings) == [f'layer{i}.0.downsample.0' for i in widening]
    assert [f.name for f in findings if f.arrives] == ['layer 4']
    assert all(f.agrees for f in findings)
    assert [len(f.to_output.i_convs) for f in findings] == [sum(i > layer for i in widening) for layer in range(5)]
    identities = [n - (i in widening) for i, n in enumerate(blocks, 1)]
    assert [f.trunk.free['identity'] for f in findings[1:]] == identities


def breaks():
    """Name, what is done to a network, and what must be said of it."""

    def head_shortcut(net):
        net.head[1].refine[0].shortcut = nn.Conv2d(52, 52, 1)

    def body_shortcut(net):
        block = net.body[2].refine[0]
        widths = block.squeeze.conv.in_channels, block.expand.conv.out_channels
        block.shortcut = PreActConv(*widths, 1, BN)

    def strided(net):
        net.head[0].down = nn.Conv2d(20, 20, 3, stride=2, padding=1)

    def norm_on_the_trunk(net):
        net.head[0].refine[0].shortcut = nn.BatchNorm2d(20)

    def scaled(net):
        net.head[2].down = nn.Sequential(nn.MaxPool2d(2), Lambda(lambda x: x * 0.3))

    def no_shortcut(net):
        net.head[0].refine[0].shortcut = Lambda(torch.zeros_like)

    def transfer(net):
        net.body[1].transfer[0].shortcut = nn.Conv2d(8, 8, 1)

    yield head_shortcut, ['head 2: weights on its trunk: head.1.refine.0.shortcut']
    yield body_shortcut, ['body 3: weights on its trunk: body.2.refine.0.shortcut.conv']
    yield strided, ['head 1: weights on its trunk: head.0.down', 'head 1: gradients do not reach it']
    yield norm_on_the_trunk, ['head 1: weights on its trunk: head.0.refine.0.shortcut']
    yield scaled, ['head 3: weights on its trunk: product', 'head 3: gradients do not reach it']
    yield no_shortcut, ['head 1: weights on its trunk:']
    yield transfer, ['tail 1: gradients do not reach it']


def test_no_i_conv_where_the_width_stays():
    """NARROW's stem is as wide as its first tail stage."""
    assert i_convs(analyse(FishNet(NARROW))) == FOUR[1:]


@pytest.mark.parametrize('broken, said', [pytest.param(b, s, id=b.__name__) for b, s in breaks()])
def test_a_broken_network_is_told(broken, said):
    net = narrow()
    broken(net)
    wrong = claim_fails(analyse(net))
    for start in said:
        assert any(line.startswith(start) for line in wrong), wrong


@pytest.mark.parametrize('broken', [b for b, _ in breaks() if b.__name__ != 'scaled'], ids=lambda b: b.__name__)
def test_both_proofs_agree_on_it(broken):
    net = narrow()
    broken(net)
    assert all(f.agrees for f in analyse(net))


def test_i_conv_and_plain_are_told_by_what_goes_round_them():
    net = narrow()
    net.head[1].refine[0].shortcut = nn.Conv2d(52, 52, 1)
    net.head[0].down = nn.Conv2d(20, 20, 3, stride=2, padding=1)
    found = by_name(analyse(net))
    assert found['head 2'].trunk.i_convs == ('head.1.refine.0.shortcut',)
    assert found['head 1'].trunk.i_convs == () and found['head 1'].trunk.plain == ('head.0.down',)


def test_one_convolution_cuts_off_what_no_transfer_block_carries_past_it():
    """At 1/8 in the head all of 1/4 and 1/8 must pass; what is at 1/16 joins behind it."""
    net = narrow()
    net.head[1].refine[0].shortcut = nn.Conv2d(52, 52, 1)
    arrived = [f.name for f in analyse(net) if f.arrives]
    assert arrived == ['tail 2', 'bridge', 'body 1', 'head 2', 'head 3']


def test_a_weight_without_a_convolution_is_named_too():
    net = narrow()
    net.head[2].refine[0].shortcut = nn.BatchNorm2d(100)
    cells = list(table('', analyse(net)).columns[-1].cells)
    assert cells[-3] == 'through head.2.refine.0.shortcut' and cells[-1] == 'directly'


def test_average_pooling_is_no_weight():
    net = narrow()
    for stage in net.head:
        stage.down = nn.AvgPool2d(2)
    findings = analyse(net)
    assert claim_fails(findings) == []
    assert by_name(findings)['head 1'].trunk.free['average pool'] == 1


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(frozen_stages=3),
        dict(norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True),
        dict(norm_cfg=dict(type='GN', num_groups=1)),
        dict(with_cp=True),
        dict(out_indices=(3,)),
        dict(arch=dict(stem_stride=1)),
        dict(arch=dict(stem='conv7x7', dilation='body_head')),
        dict(arch=dict(attention='none')),
        dict(arch=dict(down='avg2', up='bilinear')),
    ],
    ids=str,
)
def test_it_is_the_network_that_counts(kwargs):
    net = narrow(**kwargs).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    needs = [p.requires_grad for p in net.parameters()]
    findings = analyse(net)
    assert claim_fails(findings) == [] and i_convs(findings) == FOUR
    assert net.training and [p.requires_grad for p in net.parameters()] == needs
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_the_table_names_every_stage():
    findings = analyse(narrow())
    shown = table('narrow', findings)
    assert list(shown.columns[0].cells) == [f.name for f in findings]
    assert [c for c in shown.columns[2].cells if c != '-'] == FOUR
    assert 'through 1 I-conv, 2 plain convolutions' in shown.columns[-1].cells


def test_an_unknown_network_is_named():
    with pytest.raises(FigureError, match='Linear'):
        analyse(nn.Linear(2, 2))
    with pytest.raises(FigureError, match='Swin'):
        build_backbone(dict(type='SwinTransformer'))
    with pytest.raises(FigureError, match='depth|49'):
        build_backbone(dict(type='ResNet', depth=49))


def test_configs_are_analysed_as_networks_not_as_recipes():
    """The recipe freezes the stem and fixes BN: the graph must hold them all the same."""
    name, config = read_backbone(str(CONFIGS / 'mask_rcnn_fishnet99_fpn.py'))
    assert name == 'mask_rcnn_fishnet99_fpn' and 'init_cfg' not in config
    net = build_backbone(config)
    assert all(p.requires_grad for p in net.parameters())
    name, config = read_backbone(str(CONFIGS / 'mask_rcnn_r50_fpn.py'))
    assert all(p.requires_grad for p in build_backbone(config).parameters())


def test_the_tool_proves_and_plots(call_tool, tmp_path):
    plot = ['--plot', tmp_path / 'norms.png', '--steps', 1, '--batch', 2, '--side', 64, '--lr', 0.001, '--seed', 1]
    done = call_tool('tools/gradient_paths.py', 'fishnet99', *plot)
    assert done.returncode == 0, done.stderr
    assert 'The claim holds' in done.stdout and (tmp_path / 'norms.png').stat().st_size > 10_000


@pytest.mark.parametrize(
    'arguments, named',
    [
        (['--plot', 'x.txt'], r'--plot x\.txt: .*\.png'),
        (['--plot', 'none/x.png'], '--plot none/x.png: .* does not exist'),
        (['--steps', 0], 'steps = 0'),
        (['fishnet7'], 'fishnet7.*fishnet99'),
    ],
)
def test_the_tool_ends_errors_in_one_line(call_tool, arguments, named):
    done = call_tool('tools/gradient_paths.py', *arguments)
    assert done.returncode == 1 and re.match(f'error: {named}', done.stderr) and done.stderr.count('\n') == 1


def test_strided_convolutions_break_the_claim():
    """The alternative of Table 2 has weights on the trunk, in the head too: the paper's argument against it."""
    failed = claim_fails(analyse(narrow(arch=dict(down='conv'))))
    assert failed and any('head' in line for line in failed)
