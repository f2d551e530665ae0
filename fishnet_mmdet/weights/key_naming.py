"""The layouts in which FishNet weights exist, and the way from each into our own. Pure: names and shapes, no files.

Our own layout is that of an mmpretrain classifier: `backbone.*` (the keys of `FishNet`), `neck.*`, `head.fc.*`. In every
layout a tensor's key is the path of its layer and the tensor's name (weight, bias, running_mean, ...); a layout says
which of our layers each path is. Bottlenecks, which are many, are given by their stage and by the paths within one.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fishnet_mmdet.network.arch import FishNetArch

Shape = tuple[int, ...]

CLASSIFIER_LAYERS = ('neck.squeeze.norm', 'neck.squeeze.conv', 'neck.norm', 'head.fc')
"""What the classifier has beside the backbone; a detector leaves these out."""

DETECTOR_HEADS = frozenset(
    'rpn_head roi_head bbox_head mask_head mask_feature_head semantic_head panoptic_head panoptic_fusion_head '
    'decode_head auxiliary_head encoder decoder query_embedding query_generator dn_query_generator level_embed '
    'reference_points_fc memory_trans_fc memory_trans_norm'.split()
)
"""First words of keys that only mmdet's detectors and mmsegmentation's segmentors have."""

CONVOLUTIONS = ('squeeze', 'conv', 'expand')
"""A bottleneck's own, in order."""

OWN_BOTTLENECK = re.compile(r'(?P<stage>backbone\..+?\.(?:refine|transfer))\.(?P<index>\d+)\.(?P<layer>.+)')

BN_EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to name the layers of a FishNet classifier.

    Attributes:
        name: For messages.
        block: What stands before the index of a bottleneck within its stage.
        first: Index of a stage's first bottleneck.
        stages: Path of a stage's bottlenecks -> ours.
        inside: Path within a bottleneck -> ours.
        layers: Path of every other layer -> ours.
        identity_norms: Our norms that this layout lacks because its network does without: see `to_own`.
    """

    name: str
    block: str
    first: int
    stages: Mapping[str, str]
    inside: Mapping[str, str]
    layers: Mapping[str, str]
    identity_norms: tuple[str, ...] = ()

    def own(self, key: str) -> str | None:
        """Our key for one of this layout's, None where it is not one."""
        path, _, tensor = key.rpartition('.')
        if path in self.layers:
            return f'{self.layers[path]}.{tensor}'
        for stage, ours in self.stages.items():
            match = re.fullmatch(rf'{re.escape(stage)}\.{self.block}(\d{{1,4}})\.(.+)', path)
            if match and match[2] in self.inside and int(match[1]) >= self.first:
                return f'{ours}.{int(match[1]) - self.first}.{self.inside[match[2]]}.{tensor}'
        return None

    def theirs(self, key: str) -> str | None:
        """This layout's key for one of ours, None where it has none."""
        path, _, tensor = key.rpartition('.')
        for theirs, ours in self.layers.items():
            if ours == path:
                return f'{theirs}.{tensor}'
        if match := OWN_BOTTLENECK.fullmatch(path):
            stages = (theirs for theirs, ours in self.stages.items() if ours == match['stage'])
            layers = (theirs for theirs, ours in self.inside.items() if ours == match['layer'])
            stage, layer = next(stages, None), next(layers, None)
            if stage and layer:
                return f'{stage}.{self.block}{int(match["index"]) + self.first}.{layer}.{tensor}'
        return None


BARE_BACKBONE = re.compile(r'(stem|tail|bridge|body|head)\.(\d|squeeze|expand|refine|attention)')


class OwnLayout(Layout):
    """Our own layout, in which a bare backbone's keys may lack their `backbone.`."""

    def own(self, key: str) -> str:
        """The key itself, under `backbone.` where it is one of a bare backbone."""
        return f'backbone.{key}' if BARE_BACKBONE.match(key) else key

    def theirs(self, key: str) -> str:
        """The key itself."""
        return key


@dataclass
class OwnWeights:
    """Weights in our own layout.

    Attributes:
        layout: The layout they came in.
        state: Our keys, with the values of the source.
        source_keys: Our key -> the source's.
        unexplained: Keys of the source that its layout does not know.
        notes: What was filled in.
    """

    layout: str
    state: dict[str, Tensor]
    source_keys: dict[str, str]
    unexplained: list[str]
    notes: list[str] = field(default_factory=list)


def _official(name: str, score: Mapping[str, str], bare_shortcut: bool = False) -> Layout:
    """The authors' network: ten numbered stages, of which each holds numbered children.

    Args:
        name: For messages.
        score: The layers of the two "scores" (theirs: of the bridge and of the classifier), whose numbers changed.
        bare_shortcut: Whether the first shortcut of the tail is a convolution alone, without norm and ReLU before it.
    """
    fish = 'fish.fish'
    stages = {f'{fish}.{s}.0': f'backbone.tail.{s}.refine' for s in range(3)}
    stages[f'{fish}.3.2'] = 'backbone.bridge.refine'
    for part, start in (('body', 4), ('head', 7)):
        for step in range(3):
            stages[f'{fish}.{start + step}.0'] = f'backbone.{part}.{step}.refine'
            stages[f'{fish}.{start + step}.1'] = f'backbone.{part}.{step}.transfer'
    inside = {'shortcut.0': 'shortcut.norm', 'shortcut.2': 'shortcut.conv'}
    for number, layer in enumerate(CONVOLUTIONS, start=1):
        inside |= {f'bn{number}': f'{layer}.norm', f'conv{number}': f'{layer}.conv'}
    layers = {f'conv{i + 1}.0': f'backbone.stem.{i}.conv' for i in range(3)}
    layers |= {f'conv{i + 1}.1': f'backbone.stem.{i}.norm' for i in range(3)}
    layers |= {f'{fish}.{path}': ours for path, ours in score.items()}
    layers |= {
        f'{fish}.3.0.0': 'backbone.bridge.squeeze.norm',
        f'{fish}.3.3.0.0': 'backbone.bridge.attention.norm',
        f'{fish}.3.3.0.3': 'backbone.bridge.attention.squeeze',
        f'{fish}.3.3.0.5': 'backbone.bridge.attention.excite',
    }
    identity_norms: tuple[str, ...] = ()
    if bare_shortcut:
        layers[f'{fish}.0.0.0.shortcut'] = 'backbone.tail.0.refine.0.shortcut.conv'
        identity_norms = ('backbone.tail.0.refine.0.shortcut.norm',)
    return Layout(
        name=name,
        block='',
        first=0,
        stages=stages,
        inside=inside,
        layers=layers,
        identity_norms=identity_norms,
    )


OFFICIAL = _official(
    'official',
    score={
        '3.0.2': 'backbone.bridge.squeeze.conv',
        '3.0.3': 'backbone.bridge.expand.norm',
        '3.1': 'backbone.bridge.expand.conv',
        '9.3.0': 'neck.squeeze.norm',
        '9.3.2': 'neck.squeeze.conv',
        '9.3.3': 'neck.norm',
        '9.4.1': 'head.fc',
    },
)
"""The network of the authors' repository."""

EARLIER_BRIDGE = {
    '3.1.0': 'backbone.bridge.squeeze.conv',
    '3.1.1': 'backbone.bridge.expand.norm',
    '3.1.3': 'backbone.bridge.expand.conv',
}

OFFICIAL_WELL_TRAINED_150 = _official(
    'official, well-trained 150',
    score={
        **EARLIER_BRIDGE,
        '9.3.0': 'neck.squeeze.norm',
        '9.4.0': 'neck.squeeze.conv',
        '9.4.1': 'neck.norm',
        '9.4.4': 'head.fc',
    },
)
"""The well-trained files come from another state of the authors' code: the same network, other numbers. Nobody here could
see the files; the numbers are those that github.com/lyakaap/Landmark2019-1st-and-3rd-Place-Solution renames to use them."""

OFFICIAL_WELL_TRAINED_201 = _official(
    'official, well-trained 201',
    score={
        **EARLIER_BRIDGE,
        '9.2.0': 'neck.squeeze.norm',
        '9.3.0': 'neck.squeeze.conv',
        '9.3.1': 'neck.norm',
        '9.3.4': 'head.fc',
    },
    bare_shortcut=True,
)
"""As above, but for one thing in which the network differs: see `to_own`."""


def _pytorchcv() -> Layout:
    features, graph, kinds = 'features', 'features.hg', {'bn': 'norm', 'conv': 'conv'}
    stages = {f'{graph}.down1_seq.unit{s + 1}.blocks': f'backbone.tail.{s}.refine' for s in range(3)}
    stages[f'{graph}.skip1_seq.unit4.blocks'] = 'backbone.bridge.refine'
    for step in range(3):
        stages |= {
            f'{graph}.up_seq.unit{step + 1}.blocks': f'backbone.body.{step}.refine',
            f'{graph}.skip1_seq.unit{3 - step}.blocks': f'backbone.body.{step}.transfer',
            f'{graph}.down2_seq.unit{step + 1}.blocks': f'backbone.head.{step}.refine',
            f'{graph}.skip2_seq.unit{3 - step}.blocks': f'backbone.head.{step}.transfer',
        }
    inside = {'identity_conv.bn': 'shortcut.norm', 'identity_conv.conv': 'shortcut.conv'}
    for number, layer in enumerate(CONVOLUTIONS, start=1):
        inside |= {f'body.conv{number}.{kind}': f'{layer}.{ours}' for kind, ours in kinds.items()}
    layers = {}
    for kind, ours in kinds.items():
        layers |= {f'{features}.init_block.conv{i + 1}.{kind}': f'backbone.stem.{i}.{ours}' for i in range(3)}
        layers |= {
            f'{graph}.skip1_seq.unit4.conv1.{kind}': f'backbone.bridge.squeeze.{ours}',
            f'{graph}.skip1_seq.unit4.conv2.{kind}': f'backbone.bridge.expand.{ours}',
            f'{features}.final_block.conv1.{kind}': f'neck.squeeze.{ours}',
        }
    layers |= {
        f'{graph}.skip1_seq.unit4.se.bn': 'backbone.bridge.attention.norm',
        f'{graph}.skip1_seq.unit4.se.conv1': 'backbone.bridge.attention.squeeze',
        f'{graph}.skip1_seq.unit4.se.conv2': 'backbone.bridge.attention.excite',
        f'{features}.final_block.preactiv.bn': 'neck.norm',
        'output.final_conv': 'head.fc',
    }
    return Layout(name='pytorchcv', block='block', first=1, stages=stages, inside=inside, layers=layers)


PYTORCHCV = _pytorchcv()
"""pytorchcv 0.0.74."""

FOREIGN = (OFFICIAL, OFFICIAL_WELL_TRAINED_150, OFFICIAL_WELL_TRAINED_201, PYTORCHCV)
OWN = OwnLayout(name='fishnet_mmdet', block='', first=0, stages={}, inside={}, layers={})

EXAMPLES = {
    OWN.name: 'backbone.bridge.squeeze.conv.weight, or bridge.squeeze.conv.weight',
    'official': 'conv1.0.weight, fish.fish.0.0.0.conv1.weight',
    'pytorchcv': 'features.init_block.conv1.conv.weight',
}
"""What keys of each family look like, for the message where none fits."""


def recognise(keys: Iterable[str]) -> Layout | None:
    """The layout of some keys: one of FOREIGN, or OWN, or None.

    A foreign layout is told by how many keys it explains, so that one key too few or too many does not hide it.
    """
    keys = list(keys)
    if any(key.removeprefix('backbone.').startswith('bridge.') for key in keys):
        return OWN
    explained = {layout.name: sum(layout.own(key) is not None for key in keys) for layout in FOREIGN}
    best = max(FOREIGN, key=lambda layout: explained[layout.name])
    return best if 2 * explained[best.name] > len(keys) else None


def to_own(state: Mapping[str, Tensor], layout: Layout) -> OwnWeights:
    """Renames weights into our own layout. Values are passed through, but for the classifier's last layer.

    That layer is a 1x1 convolution elsewhere and linear here: (classes, C, 1, 1) becomes (classes, C). The counters
    `num_batches_tracked`, which files older than torch 0.4.1 lack, are filled with zeros. A layout without one of our norms
    gets the norm that changes nothing: weight 1, bias 0, mean 0, and a variance of 1 less BN's epsilon. The ReLU after it
    changes nothing either, since what enters is the stem's output, a maximum of ReLUs.

    Args:
        state: Tensors by the layout's keys.
        layout: From `recognise`.
    """
    own = OwnWeights(layout.name, {}, {}, [])
    for key in state:
        ours = layout.own(key)
        if ours is None or ours in own.source_keys:
            own.unexplained.append(key)
        else:
            own.source_keys[ours] = key
    own.state = {ours: state[key] for ours, key in own.source_keys.items()}
    last = own.state.get('head.fc.weight')
    if last is not None and tuple(last.shape[2:]) == (1, 1):
        own.state['head.fc.weight'] = last.reshape(last.shape[:2])
    _fill_identity_norms(own, layout)
    _fill_counters(own)
    return own


def _fill_identity_norms(own: OwnWeights, layout: Layout) -> None:
    for norm in layout.identity_norms:
        conv = own.state.get(norm.replace('.norm', '.conv') + '.weight')
        if conv is None:
            continue
        ones = conv.new_ones(conv.shape[1])
        own.state |= {
            f'{norm}.weight': ones,
            f'{norm}.bias': 0 * ones,
            f'{norm}.running_mean': 0 * ones,
            f'{norm}.running_var': ones - BN_EPS,
        }
        own.notes.append(f'{norm}, which this file lacks, is the identity')


def _fill_counters(own: OwnWeights) -> None:
    if any(key.endswith('.num_batches_tracked') for key in own.state):
        return
    counters = [key.replace('running_mean', 'num_batches_tracked') for key in own.state if 'running_mean' in key]
    own.state |= {key: torch.zeros((), dtype=torch.int64) for key in counters}
    if counters:
        own.notes.append('num_batches_tracked, which this file lacks, is 0')


def infer_arch(shapes: Mapping[str, Shape]) -> FishNetArch | None:
    """The layout of the network whose weights these are, in our keys; None where they do not tell.

    What leaves no trace in weights (strides, kinds of pooling and up-sampling, dilation) is taken as released.
    """

    def blocks(stage: str) -> int:
        found = (re.match(rf'backbone\.{stage}\.(\d+)\.', key) for key in shapes)
        # Distinct indices, not the highest: a name with a huge index must not ask for a huge network.
        return len({match[1] for match in found if match})

    def shape(layer: str) -> Shape:
        return shapes.get(f'backbone.{layer}.weight', (0, 0, 0, 0))

    def has(part: str) -> bool:
        return any(key.startswith(f'backbone.{part}.') for key in shapes)

    steps = range(3)
    inside, in_group = (*shape('tail.0.refine.0.conv.conv'), 0, 0)[:2]
    is_fishnext = 0 < 2 * inside == shape('tail.0.refine.0.expand.conv')[0]
    try:
        return FishNetArch(
            tail=tuple(blocks(f'tail.{s}.refine') for s in steps),
            bridge=blocks('bridge.refine'),
            body=tuple(blocks(f'body.{s}.refine') for s in steps),
            body_transfer=tuple(blocks(f'body.{s}.transfer') for s in steps),
            head=tuple(blocks(f'head.{s}.refine') for s in steps),
            head_transfer=tuple(blocks(f'head.{s}.transfer') for s in steps),
            stem_width=shape('body.2.transfer.0.expand.conv')[0],
            tail_widths=tuple(shape(f'tail.{s}.refine.0.expand.conv')[0] for s in steps),
            body_widths=tuple(shape(f'body.{s}.refine.0.expand.conv')[0] for s in steps),
            stem='residual' if has('stem.1.squeeze') else 'conv3x3' if has('stem.1') else 'conv7x7',
            down='conv' if has('tail.0.down') else 'max2',
            attention='se' if has('bridge.attention') else 'none',
            group_width=in_group if is_fishnext else 0,
        )
    except ValueError:
        return None
