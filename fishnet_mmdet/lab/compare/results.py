"""The result of a run: figures, curves, time and memory, taken from its logs and kept as JSON in its folder."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from mmengine.config import Config

from fishnet_mmdet.evaluation.class_rows import or_none
from fishnet_mmdet.evaluation.coco_names import CLASS_FIGURES, MMDET_NAMES
from fishnet_mmdet.lab.compare.experiment import CompareError
from fishnet_mmdet.training.checkpoints.resume import POINTER

RESULT = 'result.json'

Results = Mapping[Path, Mapping]
"""Results of runs by the folder of the run, relative to the folder of the experiment."""


def read_results(out: Path) -> dict[Path, dict]:
    """Reads what earlier runs left.

    Args:
        out: Folder of the experiment.

    Raises:
        CompareError: A result that cannot be read.
    """
    found = {}
    for path in sorted(out.glob(f'*/*/*/{RESULT}')):
        try:
            result = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CompareError(f'{path} cannot be read ({error}); delete it to run that training again') from error
        if 'checkpoint' in result:
            result['checkpoint'] = str(_checkpoint(out, Path(result['checkpoint'])))
        found[path.parent.relative_to(out)] = result
    return found


def _checkpoint(out: Path, path: Path) -> Path:
    """The checkpoint of a run; earlier versions wrote its absolute path, and the folder may have moved since."""
    moved = out.joinpath(*path.parts[-4:])
    return moved if path.is_absolute() and not path.is_file() and moved.is_file() else out / path


def judged(result: Mapping) -> str | None:
    """The kind of AP that a detector is judged by: of masks, or of boxes where it has none; None without a figure."""
    return next((kind for kind in ('segm', 'bbox') if kind in result), None)


def progress(folder: Path) -> str:
    """How far the run in a folder is, as one line."""
    lines = [line for line in _logged(folder) if 'loss' in line]
    if not lines:
        return 'starting'
    last = lines[-1]
    return f'epoch {last.get("epoch", "?")}, iteration {last["step"]}, loss {last["loss"]:.3f}'


def result_of(config: Path, folder: Path) -> dict:
    """The result of a finished run, from its logs.

    Args:
        config: The run's config.
        folder: The run's folder.
    """
    lines = list(_logged(folder))
    steps = {line['step']: line for line in lines if 'loss' in line}  # a resumed run logs some steps again
    memory = [line['memory'] for line in lines if 'memory' in line]
    result = dict(
        checkpoint=str(Path((folder / POINTER).read_text().strip()).resolve()),
        epochs=Config.fromfile(config).train_cfg.max_epochs,
        iterations=max(steps, default=0),
        **_times(steps),
        device_peak_mb=max(memory, default=None),
        loss={step: line['loss'] for step, line in sorted(steps.items())},
    )
    for kind in ('bbox', 'segm'):
        if curve := _curve(lines, kind):
            result[kind] = curve[max(curve)]
            result[f'{kind}_curve'] = curve
    accuracy = [line['accuracy/top1'] for line in lines if 'accuracy/top1' in line]
    return result | (dict(top1=accuracy[-1]) if accuracy else {})


def _logged(folder: Path) -> Iterator[dict]:
    """Every line that the runs in a folder logged, oldest first."""
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue  # being written, or cut short by a crash


def _times(steps: Mapping[int, Mapping]) -> dict[str, float | None]:
    """Median time of an iteration, and time of all; a logged time is the mean since the line before."""
    times = np.array([steps[step]['time'] for step in sorted(steps)])
    iterations = np.diff([0, *sorted(steps)])
    return dict(
        iteration_ms=1000 * float(np.median(times)) if len(times) else None,
        train_seconds=float(times @ iterations),
    )


def _curve(lines: list[dict], kind: str) -> dict[int, dict[str, float | None]]:
    """Figures of each validation by epoch; NaN and COCO's -1, for no objects of a size, become None."""
    return {
        line['step']: {name: or_none(line[f'coco/{kind}_{MMDET_NAMES[name]}']) for name in CLASS_FIGURES}
        for line in lines
        if f'coco/{kind}_mAP' in line
    }
