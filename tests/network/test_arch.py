import pytest

from fishnet_mmdet.network.arch import ARCHS, FishNetArch, resolve_arch

ROW = dict(tail=(1, 1, 1), bridge=1, body=(1, 1, 1), body_transfer=(1, 1, 1), head=(1, 1, 1), head_transfer=(1, 1, 1))


@pytest.mark.parametrize('name', ARCHS)
def test_released_widths(name):
    arch = ARCHS[name]
    assert arch.body_in == (512, 768, 512)
    assert arch.body_out == (768, 512, 320)
    assert arch.out_channels == (320, 832, 1600, 2112)


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


def test_missing_fields_are_named():
    with pytest.raises(ValueError, match='bridge'):
        resolve_arch({k: v for k, v in ROW.items() if k != 'bridge'})
    with pytest.raises(ValueError, match='150'):
        resolve_arch(150)
