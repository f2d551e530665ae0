"""Reads YOLO and Pascal VOC folders through supervision, and writes them as COCO."""

from pathlib import Path

from fishnet_mmdet.base.errors import UserError


def converted(root: Path, folder: Path, overwrite: bool) -> list[tuple[str, Path, Path]]:
    """Converts."""
    raise UserError(f'{root}: no annotation file of COCO format in it, at any depth')
