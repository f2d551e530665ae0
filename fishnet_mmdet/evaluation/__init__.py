"""Metrics (COCO AP, panoptic quality), tables of measured figures, and the published figures beside them."""
