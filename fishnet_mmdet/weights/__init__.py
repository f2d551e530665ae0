"""Pretrained weights: names and downloads, safe reading, key naming, strict fitting, conversion."""
