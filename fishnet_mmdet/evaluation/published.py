"""Published figures, each with its source; nothing in this file was measured here.

COCO: the paper's Table 3 and section 4.4 (arXiv 1901.03495). ImageNet: see each row.
"""

from typing import NamedTuple


class PublishedAP(NamedTuple):
    """AP of one detector on COCO val2017, in percent, averaged over IoU 0.50 to 0.95."""

    backbone: str
    ap: float
    small: float
    medium: float
    large: float


PUBLISHED_AP: dict[str, dict[str, tuple[PublishedAP, ...]]] = {
    'MaskRCNN': {
        'segm': (
            PublishedAP('ResNet-50 (Detectron)', 34.5, 15.6, 37.1, 52.1),
            PublishedAP('ResNet-50', 34.7, 18.5, 37.4, 47.7),
            PublishedAP('ResNeXt-50 32x4d', 35.7, 19.1, 38.5, 48.5),
            PublishedAP('FishNet-150', 37.0, 19.8, 40.2, 50.3),
        ),
        'bbox': (
            PublishedAP('ResNet-50 (Detectron)', 38.6, 22.2, 41.5, 50.8),
            PublishedAP('ResNet-50', 38.7, 22.3, 42.0, 51.2),
            PublishedAP('ResNeXt-50 32x4d', 40.0, 23.1, 43.0, 52.8),
            PublishedAP('FishNet-150', 41.5, 24.1, 44.9, 55.0),
        ),
    },
    'FasterRCNN': {
        'bbox': (
            PublishedAP('ResNet-50 (Detectron)', 37.9, 21.5, 41.1, 49.9),
            PublishedAP('ResNet-50', 38.0, 21.4, 41.6, 50.1),
            PublishedAP('ResNeXt-50 32x4d', 39.3, 23.2, 42.3, 51.7),
            PublishedAP('FishNet-150', 40.6, 23.3, 43.9, 53.7),
        ),
    },
}
"""By mmdet's detector type, then by IoU type."""

NOT_MEASURED = 'published, not measured here'
PAPER_4_2, NOTES_4_3 = 'paper, section 4.2', "a reader's notes on the paper's section 4.3"
PAPER_TABLE_2, PAPER_TABLE_3 = 'paper, Table 2', 'paper, Table 3'
FISHNET_README = 'github.com/kevin-ssy/FishNet'
RESNET_README = 'github.com/facebookarchive/fb.resnet.torch'
DENSENET_README = 'github.com/liuzhuang13/DenseNet'
RESNEXT_README = 'github.com/facebookresearch/ResNeXt'
SOURCES = 'Paper: arXiv 1901.03495. A repository stands for its README.'


class PublishedError(NamedTuple):
    """Top-1 error of one network on ImageNet val, single 224 crop.

    Attributes:
        network: Name in its source.
        family: The line of Figure 4 that it belongs to.
        mark: Short name beside its point in Figure 4.
        model: The model whose parameters and MACs are counted: a name of `ARCHS`, or of torchvision's models.
        error: Top-1 error in percent.
        source: Where the error is published.
        parameters: Millions of parameters according to the source, if it says.
        options: Further arguments of `model`.
    """

    network: str
    family: str
    mark: str
    model: str
    error: float
    source: str
    parameters: float | None = None
    options: tuple[tuple[str, object], ...] = ()


PAPER_ERRORS = (
    PublishedError('ResNet-50', 'ResNet', '50', 'resnet50', 23.78, PAPER_4_2, 25.5),
    PublishedError('ResNet-101', 'ResNet', '101', 'resnet101', 22.30, PAPER_4_2, 44.5),
    PublishedError('FishNet-150', 'FishNet', '150', 'fishnet150', 21.93, PAPER_4_2, 26.4),
    PublishedError('ResNeXt-50 32x4d', 'ResNeXt', '50', 'resnext50_32x4d', 22.2, PAPER_4_2, 25.0),
    PublishedError('FishNeXt-150 (4d)', 'FishNeXt', '150', 'fishnext150', 21.5, PAPER_4_2, 26.2),
)
"""The paper's own trainings; its ResNets are pre-activation ones, with the same parameters and MACs."""

RELEASED_ERRORS = (
    PublishedError('FishNet-99', 'FishNet', '99', 'fishnet99', 22.59, FISHNET_README, 16.62),
    PublishedError('FishNet-150', 'FishNet', '150', 'fishnet150', 21.86, FISHNET_README, 24.96),
    PublishedError('FishNet-201', 'FishNet', '201', 'fishnet201', 21.24, FISHNET_README, 44.58),
)
"""100 minus the top-1 accuracy after 100 epochs with a step schedule; these architectures are built here."""

OTHER_ERRORS = (
    PublishedError('ResNet-152', 'ResNet', '152', 'resnet152', 22.16, RESNET_README),
    PublishedError('DenseNet-121', 'DenseNet', '121', 'densenet121', 25.0, DENSENET_README),
    PublishedError('DenseNet-169', 'DenseNet', '169', 'densenet169', 23.6, DENSENET_README),
    PublishedError('DenseNet-201', 'DenseNet', '201', 'densenet201', 22.5, DENSENET_README),
    PublishedError('DenseNet-161', 'DenseNet', '161', 'densenet161', 22.2, DENSENET_README),
    PublishedError(
        'ResNeXt-101 32x4d', 'ResNeXt', '101', 'resnet101', 21.2, RESNEXT_README,
        options=(('groups', 32), ('width_per_group', 4)),
    ),
)  # fmt: skip

FIGURE_4 = (*RELEASED_ERRORS, *(row for row in PAPER_ERRORS if row.family != 'FishNet'), *OTHER_ERRORS)
"""The rows of Figure 4; for FishNet the released errors, because the paper's FishNet-150 was never released."""


class PublishedAblation(NamedTuple):
    """FishNet-150 with one choice changed, on ImageNet val.

    Attributes:
        choice: What is changed, in words.
        options: The same as fields of `FishNetArch`.
        error: Top-1 error in percent, or None.
        change: Change of the top-1 error in points, if the paper gives only that, or None.
        source: Where it is published.
        parameters: Millions of parameters according to the paper, or None.
    """

    choice: str
    options: dict[str, str]
    error: float | None
    change: float | None
    source: str
    parameters: float | None = None


DOWN_SAMPLING = (
    PublishedAblation('2x2 max-pool', {}, 21.93, None, PAPER_TABLE_2, 26.4),
    PublishedAblation('3x3 max-pool', {'down': 'max3'}, 22.51, None, PAPER_TABLE_2),
    PublishedAblation('2x2 average-pool', {'down': 'avg2'}, 22.86, None, PAPER_TABLE_2),
    PublishedAblation('strided convolution', {'down': 'conv'}, 22.75, None, PAPER_TABLE_2, 30.2),
)
"""Kinds of down-sampling in tail and head."""

OTHER_ABLATIONS = (
    PublishedAblation('dilation in the body, against none', {'dilation': 'body'}, None, -0.13, NOTES_4_3),
    PublishedAblation('two residual blocks in the stem, against one 7x7', {'stem': 'residual'}, None, -0.18, NOTES_4_3),
)
"""Changes that section 4.3 gives in words. Dilation in body and head raised the error by an amount not known here."""

RELEASED_PARAMETERS = {row.model: row.parameters for row in RELEASED_ERRORS}
PAPER_PARAMETERS = {row.model: row.parameters for row in PAPER_ERRORS}
"""Millions of parameters by model, as published."""

RECONSTRUCTED = ('fishnext229',)
"""Architectures that were never published: a model of this name is a reconstruction."""
