"""The names of COCO's figures: COCO's own, and those that MMDetection uses."""

MMDET_NAMES = {
    'AP': 'mAP', 'AP50': 'mAP_50', 'AP75': 'mAP_75', 'AP_S': 'mAP_s', 'AP_M': 'mAP_m', 'AP_L': 'mAP_l',
    'AR_1': 'AR@1', 'AR_10': 'AR@10', 'AR_100': 'AR@100', 'AR_S': 'AR_s@100', 'AR_M': 'AR_m@100', 'AR_L': 'AR_l@100',
}  # fmt: skip
"""Names in MMDetection's logs and in `save_best`, by COCO's names, in the order of `COCOeval.stats`."""

FIGURES = tuple(MMDET_NAMES)

CLASS_FIGURES = FIGURES[:6]
"""The figures of a single class: those of precision."""
