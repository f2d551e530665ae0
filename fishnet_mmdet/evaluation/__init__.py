"""COCO AP, accuracy, mean IoU and PQ: metrics, reports and published figures."""
