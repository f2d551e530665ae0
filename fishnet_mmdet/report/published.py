"""The paper's COCO figures as data (arXiv 1901.03495, Table 3 and section 4.4): never measured here."""

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
