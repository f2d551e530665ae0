"""The COCO metric of our configs: always the official figures, even if nothing was detected."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.data.coco_fields import finite_problem
from fishnet_mmdet.evaluation.coco_eval import evaluate, evaluator_class
from fishnet_mmdet.evaluation.coco_names import MMDET_NAMES
from fishnet_mmdet.evaluation.results_files import IOU_TYPES, checked_annotations

NO_DETECTIONS = (
    'No detection is left on any image, so every AP is 0. Likely causes, most likely first: the model has hardly been '
    'trained; its weights were not loaded (see the lines about loading above); the loss diverged (lower '
    'optim_wrapper.optimizer.lr, or scale it to the batch with --auto-scale-lr); num_classes or the class names do not '
    'match the annotations; model.test_cfg.rcnn.score_thr is too high.'
)


@METRICS.register_module()
class OfficialCocoMetric(CocoMetric):
    """mmdet's CocoMetric with COCO's own figures: not rounded, at 1/10/100 detections, and 0 if nothing was detected.

    If nothing was detected, mmdet's metric logs an error and returns no figures. It also rounds to three digits, and
    counts recall at 100/300/1000 detections.

    Args:
        ann_file: The annotation file, as in mmdet's class; by default, the annotations of the data set.
        metric: 'bbox', 'segm' or both. Use mmdet's class for proposals.
        args: Further arguments of mmdet's `CocoMetric`, in its order.
        fast: Whether faster-coco-eval computes the figures in place of pycocotools: the same ones, in less time.
        kwargs: The same by name; `metric_items`, `proposal_nums`, `iou_thrs` and `use_mp_eval` have no effect.

    Attributes:
        objects: Number of objects of each class, crowds not counted, once something was evaluated.

    Raises:
        ConfigError: `metric` is something else.
        ResultsError: The annotations cannot be evaluated.
        UserError: `fast`, and faster-coco-eval is not installed.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        metric: str | Sequence[str] = 'bbox',
        *args: Any,
        fast: bool = False,
        **kwargs: Any,
    ) -> None:
        metrics = [metric] if isinstance(metric, str) else list(metric)
        if unknown := set(metrics) - set(IOU_TYPES):
            raise ConfigError(f'metric = {sorted(unknown)} must be of {IOU_TYPES}; use mmdet.CocoMetric for proposals')
        evaluator_class(fast)
        self.fast = fast
        super().__init__(ann_file, metrics, *args, **kwargs)
        self.objects: dict[str, int] = {}
        # Checked now rather than after the first epoch.
        if self._coco_api is not None and not self.format_only:
            for name in metrics:
                checked_annotations(self._coco_api, name)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Computes `{bbox,segm}_{mAP,mAP_50,...,AR@100,...}`, as fractions of 1, of what `process` collected.

        A figure without objects (no small ones, for example) is NaN, not pycocotools' -1: nothing plots it, and it
        never becomes the best one of a run.

        With `classwise`, `CLASS_precision` too, as mmdet names it. mmdet gives the AP of the last metric under this
        name; if boxes and masks are evaluated, `{bbox,segm}_CLASS_precision` hold both.
        """
        if self.format_only:
            return super().compute_metrics(results)
        truths, predictions = zip(*results, strict=True)
        with tempfile.TemporaryDirectory() as scratch:
            prefix = self.outfile_prefix or str(Path(scratch) / 'results')
            if self._coco_api is None:
                self._coco_api = COCO(self.gt_to_coco_json(truths, prefix))
                # mmdet leaves the list out if there are no objects.
                self._coco_api.dataset.setdefault('annotations', [])
            if self.cat_ids is None:
                self.cat_ids = self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes'])
            if self.img_ids is None:
                self.img_ids = self._coco_api.get_img_ids()
            files = self.results2json(predictions, prefix)
            if lacking := [metric for metric in self.metrics if metric not in files]:
                raise ConfigError(f'metric = {lacking[0]!r}, and the model predicts no masks: evaluate bbox alone')
            rows = {metric: finite_rows(json.loads(Path(files[metric]).read_text())) for metric in self.metrics}

        if not any(rows.values()):
            MMLogger.get_current_instance().warning(NO_DETECTIONS)
        figures: dict[str, float] = {}
        for metric in self.metrics:
            official, per_class = evaluate(self._coco_api, rows[metric], metric, self.cat_ids, self.img_ids, self.fast)
            self.objects = {name: result.objects for name, result in per_class.items()}
            figures |= {f'{metric}_{MMDET_NAMES[name]}': value for name, value in official.items()}
            if self.classwise:
                prefixes = ['', f'{metric}_'] if len(self.metrics) > 1 else ['']
                figures |= {f'{p}{name}_precision': c.figures['AP'] for p in prefixes for name, c in per_class.items()}
        return figures


def finite_rows(rows: list[dict]) -> list[dict]:
    """Leaves out detections that are not finite, with a warning: mmdet's metric lets them pass, as pycocotools does."""
    broken = [bool(finite_problem(row, [name for name in ('score', 'bbox') if name in row])) for row in rows]
    if any(broken):
        first = rows[broken.index(True)]
        MMLogger.get_current_instance().warning(
            f'{sum(broken)} of {len(rows)} detections have a score or a box that is not finite, and do not count; the '
            f'first is on image {first["image_id"]}. The weights may have diverged'
        )
    return [row for row, is_broken in zip(rows, broken, strict=True) if not is_broken]
