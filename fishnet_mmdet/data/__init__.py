"""Data formats: COCO, panoptic maps, Tiny ImageNet."""
