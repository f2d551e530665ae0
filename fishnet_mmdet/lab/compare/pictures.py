"""Validation images with each network's detections, beside the annotations."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from mmdet.registry import DATASETS, MODELS
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData

from fishnet_mmdet.training.launch import read_config

MIN_SCORE = 0.5
"""Detections with a lower score are not drawn."""

GREEN, MAGENTA = (0, 200, 0), (255, 0, 200)


def draw_pictures(configs: Mapping[str, tuple[Path, str]], count: int, out: Path) -> None:
    """Draws validation images, evenly spaced over the set: a row for each image, a column for each network.

    The first column shows the annotations.

    Args:
        configs: By the title of a column, config and checkpoint of a run.
        count: Number of images; fewer if the set has fewer.
        out: The PNG to write.
    """
    columns: dict[str, list[np.ndarray]] = {}
    for title, (config, checkpoint) in configs.items():
        cfg = read_config(str(config))
        with DefaultScope.overwrite_default_scope('mmdet'):
            shown = _seen_by(cfg, checkpoint, count)
        columns.setdefault('annotated', [truth for truth, _ in shown])
        columns[title] = [found for _, found in shown]
    rows = len(columns['annotated'])
    figure = Figure(figsize=(3.2 * len(columns), 3.2 * rows), layout='constrained')
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for column, (title, pictures) in zip(grid.T, columns.items(), strict=True):
        column[0].set_title(title)
        for axes, picture in zip(column, pictures, strict=True):
            axes.imshow(picture)
            axes.set_axis_off()
    figure.savefig(out, dpi=110)


def _seen_by(cfg: Config, checkpoint: str, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each image, a picture with its annotations and one with the network's detections."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    cfg.model.backbone.init_cfg = None  # the checkpoint has all weights
    model = MODELS.build(cfg.model)
    load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    model.to(device).eval()
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    shown = []
    for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int):
        item = dataset[int(index)]
        with torch.no_grad():
            (sample,) = model.test_step(pseudo_collate([item]))
        image = cv2.cvtColor(cv2.imread(sample.img_path), cv2.COLOR_BGR2RGB)
        found = sample.pred_instances.cpu()
        sure, truth = found[found.scores >= MIN_SCORE], item['data_samples'].gt_instances
        shown.append((_outlined(image, truth, GREEN), _outlined(image, sure, MAGENTA)))
    return shown


def _outlined(image: np.ndarray, objects: InstanceData, colour: tuple[int, int, int]) -> np.ndarray:
    drawn = image.copy()
    if 'masks' not in objects:
        for left, top, right, bottom in get_box_tensor(objects.bboxes).round().int().tolist():
            cv2.rectangle(drawn, (left, top), (right, bottom), colour, 1)
        return drawn
    for mask in getattr(objects.masks, 'masks', objects.masks):
        contours, _ = cv2.findContours(np.asarray(mask, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, colour, 1)
    return drawn
