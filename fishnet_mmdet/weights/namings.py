"""The key namings in which FishNet weights exist, as data: the authors' three, pytorchcv's, and our own."""

from collections.abc import Iterable, Mapping

from fishnet_mmdet.weights.key_naming import KeyNaming, OwnKeyNaming

CONVOLUTIONS = ('squeeze', 'conv', 'expand')
"""The three convolutions of a bottleneck, in order."""

STEPS = range(3)
"""The stages of the tail, the body and the head, and the convolutions of the stem."""


def _official(name: str, scores: Mapping[str, str], bare_shortcut: bool = False) -> KeyNaming:
    """A naming of the authors' network: ten numbered stages, each with numbered children.

    Args:
        name: Name for messages.
        scores: Paths of the layers that the authors call "scores", in the bridge and the classifier. Their numbers
            differ between the released files.
        bare_shortcut: Whether the first shortcut of the tail is a convolution without a norm and a ReLU before it.
    """
    fish = 'fish.fish'
    layers = _official_stem() | {f'{fish}.{path}': own for path, own in scores.items()}
    layers |= {
        f'{fish}.3.0.0': 'backbone.bridge.squeeze.norm',
        f'{fish}.3.3.0.0': 'backbone.bridge.attention.norm',
        f'{fish}.3.3.0.3': 'backbone.bridge.attention.squeeze',
        f'{fish}.3.3.0.5': 'backbone.bridge.attention.excite',
    }
    if bare_shortcut:
        layers[f'{fish}.0.0.0.shortcut'] = 'backbone.tail.0.refine.0.shortcut.conv'
    return KeyNaming(
        name=name,
        block='',
        first=0,
        stages=_official_stages(fish),
        inside=_official_bottleneck(),
        layers=layers,
        identity_norms=('backbone.tail.0.refine.0.shortcut.norm',) if bare_shortcut else (),
    )


def _official_stem() -> dict[str, str]:
    convs = {f'conv{i + 1}.0': f'backbone.stem.{i}.conv' for i in STEPS}
    return convs | {f'conv{i + 1}.1': f'backbone.stem.{i}.norm' for i in STEPS}


def _official_stages(fish: str) -> dict[str, str]:
    stages = {f'{fish}.{step}.0': f'backbone.tail.{step}.refine' for step in STEPS}
    stages[f'{fish}.3.2'] = 'backbone.bridge.refine'
    for part, start in (('body', 4), ('head', 7)):
        for step in STEPS:
            stages[f'{fish}.{start + step}.0'] = f'backbone.{part}.{step}.refine'
            stages[f'{fish}.{start + step}.1'] = f'backbone.{part}.{step}.transfer'
    return stages


def _official_bottleneck() -> dict[str, str]:
    inside = {'shortcut.0': 'shortcut.norm', 'shortcut.2': 'shortcut.conv'}
    for number, layer in enumerate(CONVOLUTIONS, start=1):
        inside |= {f'bn{number}': f'{layer}.norm', f'conv{number}': f'{layer}.conv'}
    return inside


OFFICIAL = _official(
    'official',
    scores={
        '3.0.2': 'backbone.bridge.squeeze.conv',
        '3.0.3': 'backbone.bridge.expand.norm',
        '3.1': 'backbone.bridge.expand.conv',
        '9.3.0': 'neck.squeeze.norm',
        '9.3.2': 'neck.squeeze.conv',
        '9.3.3': 'neck.norm',
        '9.4.1': 'head.fc',
    },
)
"""The naming of the authors' repository."""

EARLIER_BRIDGE = {
    '3.1.0': 'backbone.bridge.squeeze.conv',
    '3.1.1': 'backbone.bridge.expand.norm',
    '3.1.3': 'backbone.bridge.expand.conv',
}

OFFICIAL_WELL_TRAINED_150 = _official(
    'official (well-trained 150)',
    scores={
        **EARLIER_BRIDGE,
        '9.3.0': 'neck.squeeze.norm',
        '9.4.0': 'neck.squeeze.conv',
        '9.4.1': 'neck.norm',
        '9.4.4': 'head.fc',
    },
)
"""The naming of the authors' well-trained FishNet-150: the same network, numbered by another version of their code.

We could not download the well-trained files. The numbers are those that the repository
github.com/lyakaap/Landmark2019-1st-and-3rd-Place-Solution renames in order to load them.
"""

OFFICIAL_WELL_TRAINED_201 = _official(
    'official (well-trained 201)',
    scores={
        **EARLIER_BRIDGE,
        '9.2.0': 'neck.squeeze.norm',
        '9.3.0': 'neck.squeeze.conv',
        '9.3.1': 'neck.norm',
        '9.3.4': 'head.fc',
    },
    bare_shortcut=True,
)
"""The naming of the authors' well-trained FishNet-201, from the same source. Its first shortcut lacks a norm."""


def _pytorchcv() -> KeyNaming:
    features, graph, kinds = 'features', 'features.hg', {'bn': 'norm', 'conv': 'conv'}
    inside = {'identity_conv.bn': 'shortcut.norm', 'identity_conv.conv': 'shortcut.conv'}
    for number, layer in enumerate(CONVOLUTIONS, start=1):
        inside |= {f'body.conv{number}.{kind}': f'{layer}.{own}' for kind, own in kinds.items()}
    layers = {}
    for kind, own in kinds.items():
        layers |= {f'{features}.init_block.conv{i + 1}.{kind}': f'backbone.stem.{i}.{own}' for i in STEPS}
        layers |= {
            f'{graph}.skip1_seq.unit4.conv1.{kind}': f'backbone.bridge.squeeze.{own}',
            f'{graph}.skip1_seq.unit4.conv2.{kind}': f'backbone.bridge.expand.{own}',
            f'{features}.final_block.conv1.{kind}': f'neck.squeeze.{own}',
        }
    layers |= {
        f'{graph}.skip1_seq.unit4.se.bn': 'backbone.bridge.attention.norm',
        f'{graph}.skip1_seq.unit4.se.conv1': 'backbone.bridge.attention.squeeze',
        f'{graph}.skip1_seq.unit4.se.conv2': 'backbone.bridge.attention.excite',
        f'{features}.final_block.preactiv.bn': 'neck.norm',
        'output.final_conv': 'head.fc',
    }
    stages = _pytorchcv_stages(graph)
    return KeyNaming(name='pytorchcv', block='block', first=1, stages=stages, inside=inside, layers=layers)


def _pytorchcv_stages(graph: str) -> dict[str, str]:
    stages = {f'{graph}.down1_seq.unit{step + 1}.blocks': f'backbone.tail.{step}.refine' for step in STEPS}
    stages[f'{graph}.skip1_seq.unit4.blocks'] = 'backbone.bridge.refine'
    for step in STEPS:
        stages |= {
            f'{graph}.up_seq.unit{step + 1}.blocks': f'backbone.body.{step}.refine',
            f'{graph}.skip1_seq.unit{3 - step}.blocks': f'backbone.body.{step}.transfer',
            f'{graph}.down2_seq.unit{step + 1}.blocks': f'backbone.head.{step}.refine',
            f'{graph}.skip2_seq.unit{3 - step}.blocks': f'backbone.head.{step}.transfer',
        }
    return stages


PYTORCHCV = _pytorchcv()
"""The naming of pytorchcv 0.0.74."""

FOREIGN = (OFFICIAL, OFFICIAL_WELL_TRAINED_150, OFFICIAL_WELL_TRAINED_201, PYTORCHCV)
OWN = OwnKeyNaming(name='fishnet_mmdet', block='', first=0, stages={}, inside={}, layers={})

EXAMPLES = {
    OWN.name: 'backbone.bridge.squeeze.conv.weight, or bridge.squeeze.conv.weight',
    'official': 'conv1.0.weight, fish.fish.0.0.0.conv1.weight',
    'pytorchcv': 'features.init_block.conv1.conv.weight',
}
"""Example keys of each family, for the message about keys of an unknown naming."""


def recognise_naming(keys: Iterable[str]) -> KeyNaming | None:
    """Finds the naming of some keys: one of FOREIGN, or OWN, or None.

    Of the foreign namings it is the one that knows the most keys, and at least half of them. A missing or an
    additional key therefore does not hide the naming.
    """
    keys = list(keys)
    if any(key.removeprefix('backbone.').startswith('bridge.') for key in keys):
        return OWN
    known = {naming.name: sum(naming.to_own(key) is not None for key in keys) for naming in FOREIGN}
    best = max(FOREIGN, key=lambda naming: known[naming.name])
    return best if 2 * known[best.name] > len(keys) else None
