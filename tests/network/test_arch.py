from itertools import pairwise

import pytest

from fishnet_mmdet import FishNet
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.network.arch import ARCHS, PUBLISHED, FishNetArch, resolve_arch
from fishnet_mmdet.network.rows import StageRow, TransferRow

ROW = dict(tail=(1, 1, 1), bridge=1, body=(1, 1, 1), body_transfer=(1, 1, 1), head=(1, 1, 1), head_transfer=(1, 1, 1))


@pytest.mark.parametrize('name', [*PUBLISHED, 'fishnext150'])
def test_released_widths(name):
    arch = ARCHS[name]
    assert [row.in_width for row in arch.body_rows] == [512, 768, 512]
    assert [row.out_width for row in arch.body_rows] == [768, 512, 320]
    assert arch.out_channels == (320, 832, 1600, 2112)


@pytest.mark.parametrize('name', ARCHS)
def test_rows_follow_the_image_and_fit_together(name):
    arch = ARCHS[name]
    rows = {row.name: row for row in arch.rows}
    assert list(rows) == [
        'tail 1',
        'tail 2',
        'tail 3',
        'bridge',
        *(f'{p} {i}' for p in ('body', 'head') for i in (1, 2, 3)),
    ]
    assert [row.level for row in arch.rows] == [0, 1, 2, 3, 3, 2, 1, 0, 1, 2]
    for before, row in pairwise(arch.rows):
        assert (row.in_width, row.level) == (before.out_width, before.out_level)
    for row in arch.rows:
        if row.transfer and row.transfer.source != 'stem':
            source = rows[row.transfer.source]
            assert (row.transfer.width, row.transfer.level) == (source.out_width, source.out_level)
            assert row.transfer.level == row.out_level


def test_rows_of_fishnext150():
    """Groups are 4 channels wide at 1/4 and double with each coarser resolution."""
    row = ARCHS['fishnext150'].body_rows[1]
    assert row == StageRow(
        name='body 2', in_width=768, width=384, blocks=2, level=2, out_level=1, dilation=2, group_width=16,
        transfer=TransferRow(source='tail 1', width=128, blocks=2, level=1, group_width=8),
    )  # fmt: skip


def test_names_long_short_and_own():
    assert resolve_arch('150') is resolve_arch('fishnet150') is ARCHS['fishnet150']
    assert resolve_arch(ARCHS['fishnet99']) is ARCHS['fishnet99']
    own = resolve_arch(dict(ROW, tail=[1, 2, 3]))  # lists, as --cfg-options gives them
    assert own == FishNetArch(**dict(ROW, tail=(1, 2, 3)))


@pytest.mark.parametrize('arch', ['fishnet100', '', 'resnet50', 'fishnet'])
def test_unknown_name_lists_the_known(arch):
    with pytest.raises(ValueError, match='fishnet99, fishnet150, fishnet201, fishnext99'):
        resolve_arch(arch)


@pytest.mark.parametrize(
    'change, named',
    [
        (dict(tail=(1, 1)), 'tail'),
        (dict(body=(1, 0, 1)), 'body'),
        (dict(head=(1, 2, 2.0)), 'head'),
        (dict(bridge=(1,)), 'bridge'),
        (dict(bridge=True), 'bridge'),
        (dict(stem_width=10), 'stem_width'),
        (dict(tail_widths=(128, 256, 500)), 'tail_widths'),
        (dict(body_widths=(512, 300, 256)), r'body_widths\[1\]'),
        (dict(depth=50), 'depth'),
    ],
)
def test_a_field_that_cannot_be_built_is_named(change, named):
    with pytest.raises(ValueError, match=named):
        resolve_arch(dict(ROW, **change))


def test_an_unknown_base_and_an_unknown_norm_are_named():
    with pytest.raises(ConfigError, match=r"arch.base = 'foo'.*fishnet99"):
        resolve_arch(dict(base='foo'))
    with pytest.raises(ConfigError, match="norm_cfg = .*'BNX' is not a registered norm"):
        FishNet(ROW, norm_cfg=dict(type='BNX'))


def test_missing_fields_are_named():
    with pytest.raises(ValueError, match='bridge'):
        resolve_arch({k: v for k, v in ROW.items() if k != 'bridge'})
    with pytest.raises(ValueError, match='150'):
        resolve_arch(150)
