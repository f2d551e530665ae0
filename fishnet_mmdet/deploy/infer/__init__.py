"""Prediction on pictures and videos: from input files to plain arrays, a COCO results file and drawn pictures."""
