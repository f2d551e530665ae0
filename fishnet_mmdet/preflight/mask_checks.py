"""Checks the masks of a file: how they are written, where they lie, and whether they fit their boxes."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fishnet_mmdet.data.coco_geometry import BoxMeasures, PolygonBatch, box_ious, clipped
from fishnet_mmdet.data.coco_masks import box_of_runs, read_mask, rle_runs
from fishnet_mmdet.preflight.box_checks import CORNERS_FIT, SIZES_FIT
from fishnet_mmdet.preflight.contents import ImageEntry
from fishnet_mmdet.preflight.file_context import FileContext, Placed
from fishnet_mmdet.preflight.findings import Finding

NO_FIT, LOOSE_FIT = 0.3, 0.5
"""IoU of a box and the box around its mask, below which a mask does not fit, or fits badly."""


class MaskChecks:
    """The checks of all masks of a file.

    Args:
        valid: The valid annotations of listed images.
        boxes: (N, 4) their boxes: x, y, width, height in pixels.
        measures: How the boxes lie.
        context: What the annotations are checked against.
    """

    def __init__(self, valid: Sequence[Placed], boxes: np.ndarray, measures: BoxMeasures, context: FileContext) -> None:
        self.valid, self.boxes, self.context = valid, boxes, context
        self.is_usable = measures.usable

    def findings(self) -> Iterator[Finding]:
        """Yields what is wrong, in batches."""
        use, batch, runs = self.context.use, PolygonBatch(), {}
        if not use.masks or use.panoptic:
            return
        for number, (place, entry) in enumerate(self.valid):
            if not (use.evaluated or _is_trained_on(entry, self.context)):
                continue
            mask, image = entry.get('segmentation'), self.context.image_of(entry)
            problem, found = read_mask(mask, image.height, image.width)
            if problem:
                yield self.context.finding(problem.kind, problem.text, (place, entry))
            elif isinstance(mask, dict) and use.polygons_only and not entry.get('iscrowd'):
                yield self.context.finding('rle-ignored', 'its mask is an RLE', (place, entry))
            if found is not None:
                runs[number] = box_of_runs(found, image.height)
            if isinstance(mask, list) and (problem is None or problem.harmless):
                batch.add(number, mask, image.width, image.height)
            if batch.is_full:
                yield from self._polygons(batch)
                batch = PolygonBatch()
        yield from self._polygons(batch)
        numbers = np.fromiter(runs, np.int64, len(runs))
        misfits = self._misfits(numbers, np.array([*runs.values()], np.float64).reshape(-1, 4))
        yield from (self._finding(number, *misfit) for number, misfit in misfits.items())

    def _polygons(self, batch: PolygonBatch) -> Iterator[Finding]:
        problems = [*batch.problems()]
        # An annotation whose polygons reach over the edge can still be compared with its box.
        others = {number for number, problem in problems if problem.kind != 'polygon-over-edge'}
        owners, outlines, flat = batch.outlines()
        comparable = np.array([number not in others for number in owners.tolist()], bool)
        misfits = self._misfits(owners[comparable & ~flat], outlines[comparable & ~flat])
        for number in owners[comparable & flat & self.is_usable[owners]].tolist():
            misfits[number] = ('mask-empty', 'all corners of its polygons lie on a line')
        for number, problem in problems:
            if not (problem.kind == 'polygon-over-edge' and number in misfits):
                yield self._finding(number, problem.kind, problem.text)
        for number, misfit in misfits.items():
            yield self._finding(number, *misfit)

    def _finding(self, number: int, kind: str, text: str) -> Finding:
        return self.context.finding(kind, text, self.valid[number])

    def _misfits(self, numbers: np.ndarray, outlines: np.ndarray) -> dict[int, tuple[str, str]]:
        """Masks that do not fit their boxes: kind and text by number of the annotation.

        Args:
            numbers: (M,) numbers of annotations.
            outlines: (M, 4) boxes around their masks: left, top, right, bottom.
        """
        images = [self.context.image_of(self.valid[number][1]) for number in numbers.tolist()]
        sides = np.array([(image.width, image.height) for image in images], np.float64).reshape(-1, 2)
        boxes = self.boxes[numbers]
        as_sizes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        fit = box_ious(clipped(as_sizes, sides), clipped(outlines, sides))
        corners_fit = box_ious(boxes, outlines)
        usable, misfits = self.is_usable[numbers], {}
        for i in np.flatnonzero(usable & (fit < SIZES_FIT)):
            number = int(numbers[i])
            entry = self.valid[number][1]
            if entry.get('iscrowd'):
                continue
            text = (
                f'bbox {entry["bbox"]}, its mask reaches from ({outlines[i, 0]:.6g}, {outlines[i, 1]:.6g}) to '
                f'({outlines[i, 2]:.6g}, {outlines[i, 3]:.6g}): IoU {fit[i]:.2f}'
            )
            if corners_fit[i] > CORNERS_FIT:
                misfits[number] = ('box-corners', f'{text}; read as two corners, the box fits')
            elif box_ious(as_sizes[i : i + 1], _turned(entry['segmentation'], outlines[i], images[i]))[0] > CORNERS_FIT:
                misfits[number] = ('mask-box', f'{text}; read with rows for columns, the mask fits')
            elif fit[i] < LOOSE_FIT:
                misfits[number] = ('mask-box' if fit[i] < NO_FIT else 'mask-box-loose', text)
        return misfits


def _turned(mask: list | dict, outline: np.ndarray, image: ImageEntry) -> np.ndarray:
    """The box around a mask if it is read with rows for columns: (1, 4) left, top, right, bottom."""
    if isinstance(mask, dict):
        runs, _ = rle_runs(mask)
        outline = np.array(box_of_runs(runs, image.width), np.float64)
    return outline[None, [1, 0, 3, 2]]


def _is_trained_on(entry: Mapping, context: FileContext) -> bool:
    """Whether MMDetection trains on an object, if its box lies in the image."""
    width, height = entry['bbox'][2:]
    has_size = entry['area'] > 0 and width >= 1 and height >= 1
    return has_size and not entry.get('ignore') and entry['category_id'] in context.wanted
