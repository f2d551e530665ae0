"""The two tables of README.md, printed from the code: variants with their counts, and the paper's AP on COCO."""

from fishnet_mmdet.base.tables import Column, Table
from fishnet_mmdet.evaluation.published import PUBLISHED_AP, RECONSTRUCTED, PublishedAP
from fishnet_mmdet.lab.counting import count_model
from fishnet_mmdet.network.arch import ARCHS

REMARKS = {
    'fishnext150': 'grouped, paper 4.2',
    **{name: 'a reconstruction, never published' for name in RECONSTRUCTED},
}
"""What a reader has to know of a variant, beside its name."""

DETECTORS = {
    ('MaskRCNN', 'segm'): 'Mask R-CNN segm',
    ('MaskRCNN', 'bbox'): 'Mask R-CNN bbox',
    ('FasterRCNN', 'bbox'): 'Faster R-CNN bbox',
}
"""Columns of the table of results: detector and IoU type, and the heading."""

BACKBONES = ('ResNet-50', 'ResNeXt-50 32x4d', 'FishNet-150')
"""Its rows: backbones that the paper's authors trained with the same recipe."""


def variants_markdown() -> str:
    """Every architecture with the parameters, convolutions and GMACs of the built network.

    Counted with the classifier of 1000 classes, for one image of 224 x 224. GMACs are multiply-adds of the
    convolutions and the linear layer.

    Returns:
        A Markdown table, one row for each name of `ARCHS`, ending in a line break.
    """
    rows = []
    for name in ARCHS:
        counts = count_model(name)
        label = f'`{name}` ({REMARKS[name]})' if name in REMARKS else f'`{name}`'
        rows.append((label, counts.parameters, counts.convolutions, counts.gmacs))
    columns = (
        Column('variant'),
        Column('parameters', ',d'),
        Column('convolutions', 'd'),
        Column('GMACs at 224 x 224', '.3f'),
    )
    return Table(name='variants', title='Variants', columns=columns, rows=rows).markdown_grid()


def results_markdown() -> str:
    """The paper's AP on COCO val2017: Table 3 of arXiv 1901.03495. Nothing in it was measured with this code.

    Returns:
        A Markdown table, one row for each backbone, ending in a line break.
    """
    columns = (Column('backbone (figures of the paper)'), *(Column(heading) for heading in DETECTORS.values()))
    rows = [(backbone, *(_published(backbone, *detector) for detector in DETECTORS)) for backbone in BACKBONES]
    return Table(name='results', title='Results', columns=columns, rows=rows).markdown_grid()


def _published(backbone: str, detector: str, iou_type: str) -> str:
    """AP / AP_S / AP_M / AP_L in percent."""
    row: PublishedAP = next(row for row in PUBLISHED_AP[detector][iou_type] if row.backbone == backbone)
    return f'{row.ap} / {row.small} / {row.medium} / {row.large}'
