"""Predicts on any number of pictures and videos, and writes results and drawn pictures as it goes."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.text import printable
from fishnet_mmdet.deploy.infer.drawing import draw
from fishnet_mmdet.deploy.infer.image_ids import AnnotatedIds, CountedIds
from fishnet_mmdet.deploy.infer.inputs import Inputs
from fishnet_mmdet.deploy.infer.outputs import (
    KEPT_ENDINGS,
    PICTURE_FOLDER,
    VideoFile,
    check_out,
    output_name,
    write_picture,
)
from fishnet_mmdet.deploy.infer.prediction import Prediction
from fishnet_mmdet.deploy.infer.predictor import Predictor
from fishnet_mmdet.deploy.infer.reading import UnreadableImage
from fishnet_mmdet.deploy.infer.results import ResultFiles, open_results
from fishnet_mmdet.deploy.infer.sources import Loaded, Video, batches, check_batch, read_ahead

Show = Callable[[str, np.ndarray, Prediction], None]


@dataclass
class Outcome:
    """What `predict_files` did.

    Attributes:
        images: Number of pictures and frames in the results.
        objects: Number of detections in the results.
        best: The highest score of them; 0 without any.
        passed_over: Name and reason of each input that is not, or not whole, in the results.
        unused: Number of images of the annotation file that were not among the inputs.
        is_stopped: Whether Ctrl-C ended it early.
    """

    images: int = 0
    objects: int = 0
    best: float = 0.0
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    unused: int = 0
    is_stopped: bool = False


def predict_files(
    predictor: Predictor,
    inputs: Inputs,
    out: str | Path,
    *,
    annotations: str | Path | None = None,
    batch: int = 1,
    threshold: float = 0.3,
    pictures: bool = True,
    overwrite: bool = False,
) -> Outcome:
    """Predicts on pictures and videos; writes COCO results, the list of images, and drawn pictures and videos.

    An input that cannot be read is named on stderr and passed over. Ctrl-C ends the run after the current batch, with
    whole files.

    Args:
        predictor: The detector.
        inputs: From `find_inputs`.
        out: The folder to write to: results.json, images.json and pictures/.
        annotations: A COCO annotation file whose ids the results get; pictures that it does not list are passed over.
            None: images are numbered from 1, and categories are index of the class + 1.
        batch: Images in a batch.
        threshold: Smallest score of the objects that are drawn. The results hold all that the detector gives.
        pictures: Whether to draw.
        overwrite: Whether files of an earlier run may be replaced.

    Returns:
        What was done.

    Raises:
        UserError: Something cannot be used, or no input could be read; then no results are written.
    """
    check_batch(batch)
    check_out(Path(out), overwrite)
    ids = AnnotatedIds(annotations) if annotations else CountedIds()
    if annotations and (videos := [*inputs.of_kind('video'), *inputs.of_kind('camera')]):
        raise UserError(f'{inputs.name(videos[0])} is a video, and annotations have ids for pictures only')
    category_ids = ids.category_ids(predictor.classes)
    info = {'description': 'written by fishnet-mmdet infer', 'config': predictor.config, 'folder': inputs.folder}
    outcome = Outcome()
    try:
        with open_results(Path(out), category_ids, predictor.classes, info, outcome.passed_over) as files:
            folder = Path(out) / PICTURE_FOLDER if pictures else None
            _Run(predictor, inputs, files, ids, outcome, batch, threshold, folder).run()
            if not outcome.images and not outcome.is_stopped:
                raise UserError(f'none of the inputs could be read: {len(outcome.passed_over)} passed over')
    except OSError as error:
        raise UserError(f'{error.filename or out}: {error.strerror or error}') from error
    outcome.unused = ids.unused()
    return outcome


class _Run:
    """The state of one `predict_files`, whose arguments these are."""

    def __init__(
        self,
        predictor: Predictor,
        inputs: Inputs,
        files: ResultFiles,
        ids: AnnotatedIds | CountedIds,
        outcome: Outcome,
        batch: int,
        threshold: float,
        folder: Path | None,
    ) -> None:
        self.predictor, self.inputs, self.files, self.ids, self.outcome = predictor, inputs, files, ids, outcome
        self.batch, self.threshold, self.folder = batch, threshold, folder
        self.by_object = len(predictor.classes) == 1
        console = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)
        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)

    def run(self) -> None:
        """Predicts on all inputs: pictures first, then videos and cameras."""
        with self.progress, _stops_on_interrupt() as self.is_stopped:
            for path, reason in self.inputs.passed_over:
                self.pass_over(os.path.relpath(path, self.inputs.folder), reason)
            self.pictures(self.inputs.of_kind('picture'))
            for path in self.inputs.of_kind('video') + self.inputs.of_kind('camera'):
                if not self.is_stopped():
                    self.video(path)
            self.outcome.is_stopped = self.is_stopped()

    def pass_over(self, name: str, reason: str) -> None:
        """Names an input that is not in the results."""
        self.outcome.passed_over.append((name, reason))
        self.progress.console.print(printable(f'passed over: {name}: {reason}'))

    def pictures(self, paths: list[str]) -> None:
        """Predicts on picture files."""
        task = self.progress.add_task('pictures', total=len(paths), visible=bool(paths))
        for chunk in batches(self.readable(paths, task), self.batch):
            entries = [({'file_name': self.inputs.name(path)}, path, loaded) for path, loaded in chunk]
            self.predict(entries, self.picture, legend=True)
            self.progress.advance(task, len(chunk))
            if self.is_stopped():
                return

    def readable(self, paths: list[str], task: Any) -> Iterator[tuple[str, Loaded]]:
        """Yields the pictures that have an id and can be read."""

        def with_ids() -> Iterator[str]:
            for path in paths:
                if reason := self.ids.problem(path):
                    self.pass_over(self.inputs.name(path), reason)
                    self.progress.advance(task)
                else:
                    yield path

        for path, loaded in read_ahead(self.predictor.read, with_ids(), self.batch):
            if isinstance(loaded, UnreadableImage):
                self.pass_over(self.inputs.name(path), str(loaded).removeprefix(path).lstrip(': '))
                self.progress.advance(task)
            else:
                yield path, loaded

    def video(self, path: str) -> None:
        """Predicts on a video or a camera, frame by frame."""
        name = self.inputs.name(path)
        try:
            video = Video(int(path) if self.inputs.kinds[path] == 'camera' else path)
        except UnreadableImage:
            self.pass_over(name, 'OpenCV does not read it as a video')
            return
        task = self.progress.add_task(name, total=video.count or None)
        target = VideoFile((self.folder or Path()) / output_name(path, name, ('.mp4',), '.mp4'), video.fps)
        done = False
        try:
            for chunk in batches(enumerate(video), self.batch):
                entries = [({'file_name': name, 'frame': number}, path, self.predictor.read(x)) for number, x in chunk]
                # With a legend, frames would differ in height.
                self.predict(entries, lambda _, picture: target.add(picture), legend=False)
                self.progress.advance(task, len(chunk))
                if self.is_stopped():
                    break
            done = True
        finally:
            video.close()
            target.close(keep=done)
        if not self.is_stopped() and (reason := video.problem()):
            self.pass_over(name, reason)

    def predict(
        self, chunk: list[tuple[dict, str, Loaded]], show: Callable[[str, np.ndarray], None], legend: bool
    ) -> None:
        """Predicts on a batch, writes the results and hands the drawn pictures to `show`, with their paths."""
        found = self.predictor.predict_loaded([loaded for _, _, loaded in chunk])
        for (entry, path, loaded), prediction in zip(chunk, found, strict=True):
            self.files.add({'id': self.ids.image_id(path), **entry}, prediction)
            self.outcome.images += 1
            self.outcome.objects += len(prediction)
            self.outcome.best = max(self.outcome.best, float(prediction.scores.max(initial=0)))
            if self.folder:
                show(path, draw(loaded['img'], prediction.above(self.threshold), self.by_object, legend))

    def picture(self, path: str, picture: np.ndarray) -> None:
        """Writes a drawn picture under the name of its file."""
        write_picture(self.folder / output_name(path, self.inputs.name(path), KEPT_ENDINGS, '.png'), picture)


@contextmanager
def _stops_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Context in which the first Ctrl-C sets a flag, and a second one interrupts as usual.

    Yields:
        Whether there was one.
    """
    stop = threading.Event()
    # Of a process in the background, a shell may ignore Ctrl-C.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield stop.is_set
        return

    def note(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)
        print('stopping after this batch; Ctrl-C again ends at once, without results', file=sys.stderr)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield stop.is_set
    finally:
        signal.signal(signal.SIGINT, before)
