"""The fish: what its texts say against built networks, its bytes, its legibility, the tool's errors."""

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from conftest import CONFIGS, REPO
from matplotlib.backends.backend_agg import FigureCanvasAgg
from seeded import NARROW

from fishnet_mmdet import ARCHS, FishNet, UserError
from fishnet_mmdet.lab.figures.backbones import read_arch
from fishnet_mmdet.lab.figures.canvas import save
from fishnet_mmdet.lab.figures.fish import draw
from fishnet_mmdet.lab.figures.stage import draw_stage

DRAWN = {**ARCHS, 'narrow': NARROW}


def texts(svg: Path) -> Counter:
    """Every text of a picture and how often it stands there."""
    return Counter(e.text for e in ElementTree.parse(svg).iter('{http://www.w3.org/2000/svg}text'))


def measured(arch, side=128):
    """(name, channels, stride, bottlenecks) of each stage and each transfer block, from a network that ran."""
    with torch.device('meta'):
        net = FishNet(arch).eval()
        found = {}

        def hook(name, count):
            return lambda module, args, out: found.update({name: (*out.shape[1::2], count)})

        net.stem.register_forward_hook(hook('stem', None))
        net.bridge.register_forward_hook(hook('bridge', len(net.bridge.refine)))
        for part in ('tail', 'body', 'head'):
            for i, stage in enumerate(getattr(net, part), 1):
                stage.refine.register_forward_hook(hook(f'{part} {i}', len(stage.refine)))
                if part != 'tail':
                    stage.transfer.register_forward_hook(hook(f'T {part} {i}', len(stage.transfer)))
        net(torch.empty(1, 3, side, side))
    return {name: (width, side // height, count) for name, (width, height, count) in found.items()}


@pytest.mark.parametrize('name', DRAWN)
def test_rows_are_those_of_the_network(name):
    """What is drawn comes from the rows; what is measured, from a network that ran."""
    arch = DRAWN[name]
    rows = {'stem': (arch.stem_width, arch.strides[0], None)}
    rows |= {row.name: (row.width, arch.strides[row.level], row.blocks) for row in arch.rows}
    joined = [row for row in arch.rows if row.transfer]
    rows |= {
        f'T {row.name}': (row.transfer.width, arch.strides[row.transfer.level], row.transfer.blocks) for row in joined
    }
    assert rows == measured(arch)


@pytest.mark.parametrize('name', [*DRAWN, 'for small images'])
def test_the_picture_says_what_the_network_does(name, tmp_path):
    arch = DRAWN.get(name, replace(NARROW, stem_stride=1))
    svg, _ = save(draw(arch, name), tmp_path / name)
    said = texts(svg)
    assert said[name] == 1
    sizes = Counter()
    for stage, (width, stride, blocks) in measured(arch).items():
        many = f'{blocks} bottleneck{"s" if blocks != 1 else ""}'
        if stage.startswith('T'):
            assert said[f'T  {width} @ 1/{stride},  {many}'] >= 1, stage
        else:
            assert said[stage] == 1 and (blocks is None or said[many] >= 1)
            sizes[f'{width} @ 1/{stride}'] += 1
    assert all(said[size] >= count for size, count in sizes.items())
    with torch.device('meta'):
        net = FishNet(arch)
    for width, stride in zip(net.out_channels, net.out_strides, strict=True):
        assert said[f'{width} @ 1/{stride}'] >= 1


def test_the_committed_picture_is_up_to_date(tmp_path):
    """If this fails: tools/draw_fish.py fishnet150 --out docs/fishnet150."""
    svg, _ = save(draw(ARCHS['fishnet150'], 'fishnet150'), tmp_path / 'fish')
    assert texts(svg) == texts(REPO / 'docs' / 'fishnet150.svg')
    assert (REPO / 'docs' / 'fishnet150.png').stat().st_size < 200_000


def test_the_same_architecture_gives_the_same_bytes(tmp_path):
    first, second = (save(draw(NARROW, 'narrow'), tmp_path / name) for name in ('one', 'two'))
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    other, _ = save(draw(ARCHS['fishnet99'], 'narrow'), tmp_path / 'three')
    assert other.read_bytes() != first[0].read_bytes()


@pytest.mark.parametrize('name', DRAWN)
def test_no_text_covers_another_or_leaves_the_picture(name):
    check_texts(draw(DRAWN[name], name))


def check_texts(figure):
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = {i: (t.get_text(), t.get_window_extent(renderer)) for i, t in enumerate(figure.axes[0].texts)}
    for (one, a), (two, b) in combinations(boxes.values(), 2):
        assert not a.overlaps(b), (one, two)
    for text, box in boxes.values():
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text


class TestStage:
    """The inside of a stage, against what its modules took in and gave out."""

    PICTURES = ['tail 1', 'bridge', 'body 2', 'head 2']
    """Those of docs/network.md."""

    STAGES = [row.name for row in NARROW.rows]

    @staticmethod
    def ran(arch, stage):
        """Texts that follow from the shapes of features in a forward pass: (channels, side) of all that ran."""
        with torch.device('meta'):
            net = FishNet(arch).eval()
            module = dict((row.name, part) for row, part in net.stages)[stage]
            convs, ends = [], {}
            for conv in (m for m in module.modules() if isinstance(m, torch.nn.Conv2d)):
                conv.register_forward_hook(lambda conv, _, out: convs.append((conv, out.shape[1])))
            module.register_forward_hook(
                lambda _, args, kwargs, out: ends.update(
                    input=args[0], joined=kwargs.get('skip'), output=out[-1] if isinstance(out, tuple) else out
                ),
                with_kwargs=True,
            )
            net(torch.empty(1, 3, 128, 128))
        sizes = {name: f'{x.shape[1]} @ 1/{128 // x.shape[2]}' for name, x in ends.items() if x is not None}
        return module, convs, sizes

    @pytest.mark.parametrize(
        'name, stage', [*product(['narrow'], STAGES), ('fishnext150', 'bridge'), ('fishnext150', 'body 2')]
    )
    def test_says_what_the_network_does(self, name, stage):
        module, convs, sizes = self.ran(DRAWN[name], stage)
        figure = draw_stage(DRAWN[name], name, stage)
        check_texts(figure)
        said = Counter(text.get_text() for text in figure.axes[0].texts)
        joined = sizes.pop('joined', None)
        assert all(said[size] for size in sizes.values())
        assert joined is None or any(text.endswith(joined) for text in said)
        # The first bottleneck and one for the others, and what stands on the trunk; not T and the attention.
        trunk = [getattr(module, name) for name in ('squeeze', 'expand') if stage == 'bridge']
        shown = [conv for part in (*module.refine[:2], *trunk) for conv in part.modules()]
        widths = Counter(str(width) for conv, width in convs if any(conv is m for m in shown))
        assert all(said[width] >= count for width, count in widths.items()), (widths, said)
        shortcuts = [block.shortcut for block in module.refine[:2]]
        for kind, text in (('Identity', 'identity'), ('PreActConv', 'I-conv')):
            assert said[text] == sum(type(shortcut).__name__ == kind for shortcut in shortcuts)
        for shortcut in shortcuts:
            if type(shortcut).__name__ == 'ChannelReduction':
                assert said[f'sum of {shortcut.k} channels'] == 1

    @pytest.mark.parametrize('down, text', [('conv', 'strided'), ('avg2', '2x2 mean')])
    def test_other_down_sampling(self, down, text):
        figure = draw_stage(replace(NARROW, down=down), 'narrow', 'head 1')
        check_texts(figure)
        said = Counter(text.get_text() for text in figure.axes[0].texts)
        assert said[text] == 1 and said['a weight on the trunk'] == (down == 'conv')

    @pytest.mark.parametrize('stage', PICTURES)
    def test_the_committed_pictures_are_up_to_date(self, stage):
        """If this fails: tools/draw_fish.py fishnet150 --stage STAGE --out docs/fishnet150-STAGE."""
        figure = draw_stage(ARCHS['fishnet150'], 'fishnet150', stage)
        said = Counter(text.get_text() for text in figure.axes[0].texts)
        assert said == texts(REPO / 'docs' / f'fishnet150-{stage.replace(" ", "-")}.svg')

    def test_the_tool(self, call_tool, tmp_path):
        done = call_tool('tools/draw_fish.py', '99', '--stage', 'body 2', cwd=tmp_path)
        assert done.returncode == 0
        assert {f.name for f in tmp_path.iterdir()} == {'fishnet99-body-2.svg', 'fishnet99-body-2.png'}
        done = call_tool('tools/draw_fish.py', '99', '--stage', 'fin 1')
        assert re.match("error: --stage 'fin 1'.*tail 1, .*head 3", done.stderr) and done.stderr.count('\n') == 1


def test_architectures_by_name_and_by_config():
    assert read_arch('150') == read_arch('fishnet150') == ('fishnet150', ARCHS['fishnet150'])
    by_config = read_arch(str(CONFIGS / 'mask_rcnn_fishnet99_fpn.py'))
    assert by_config == ('mask_rcnn_fishnet99_fpn', ARCHS['fishnet99'])
    assert read_arch(str(CONFIGS / 'tiny_imagenet_fishnet99.py'))[1].strides[0] < 4


@pytest.mark.parametrize(
    'text, named',
    [
        (None, 'config file not found'),
        ('model = dict(', 'cannot be read as a config'),
        ('x = 1', 'no model.backbone'),
        ('model = dict(backbone=dict(type="ResNet", depth=50))', 'ResNet, not a FishNet'),
        ('model = dict(backbone=dict(type="FishNet", arch="fishnet7"))', 'fishnet7'),
    ],
)
def test_a_wrong_config_is_named(text, named, tmp_path):
    file = tmp_path / 'config.py'
    if text:
        file.write_text(text)
    with pytest.raises(UserError, match=named) as caught:
        read_arch(str(file))
    assert str(file) in str(caught.value) and '\n' not in str(caught.value)


def test_the_tool(call_tool, tmp_path):
    done = call_tool('tools/draw_fish.py', '99', '--out', tmp_path / 'my.fish.svg')
    assert done.returncode == 0, done.stderr
    assert {f.name for f in tmp_path.iterdir()} == {'my.fish.svg', 'my.fish.png'}
    for arguments, named in (
        (['fishnet7'], 'fishnet7.*fishnet99'),
        (['99', '--out', tmp_path / 'no' / 'x'], '--out.*no.*make it'),
    ):
        done = call_tool('tools/draw_fish.py', *arguments)
        assert done.returncode == 1
        assert re.match(f'error: .*{named}', done.stderr) and done.stderr.count('\n') == 1
