"""Writes checkpoints so that no moment is without a whole one: first the new file, then the removal of old ones."""

import shutil
import time
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.training.checkpoints import resume
from fishnet_mmdet.training.checkpoints.early_stopping import counts_of
from fishnet_mmdet.training.checkpoints.loop_state import ExactLoop
from fishnet_mmdet.training.checkpoints.position import BEGINNING, WRITTEN, CheckpointError, Position
from fishnet_mmdet.training.checkpoints.resume import POINTER
from fishnet_mmdet.training.stopping import any_rank

LOOP_KEY = 'loop'
"""Key of a checkpoint: the progress of the training loop; see `ExactLoop.progress`."""

STOPPING_KEY = 'early_stopping'
"""Key of a checkpoint: what early stopping has counted; see `counts_of`."""

KEPT = 'kept_checkpoints'
"""Key of MMEngine's message hub: names of this run's checkpoints, oldest first, until they are removed."""


class SafeWritingHook(CheckpointHook):
    """MMEngine's CheckpointHook, except that old files are removed only after the new one is on the disk.

    Args:
        keep: How many checkpoints stay; -1 for all.
        args: As for MMEngine's hook, whose `max_keep_ckpts` must be -1.
        kwargs: As for MMEngine's hook.
    """

    def __init__(self, keep: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keep = keep
        self._trains = False
        self._saved_at: int | None = None
        self._progress: dict[str, Any] | None = None
        self._position = BEGINNING
        # Names of another run's checkpoints in the same folder.
        self._others: list[str] = []
        # What a validation returned, while its checkpoints are written.
        self._metrics: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the loop's progress, and what early stopping has counted."""
        if self._progress is not None:
            checkpoint[LOOP_KEY] = self._progress
        if counts := counts_of(runner, self._metrics):
            checkpoint[STOPPING_KEY] = counts

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """MMEngine's hook calls it to write a checkpoint: the regular ones, and again after a new best."""
        self._write(runner, self.filename_tmpl.format(step), meta)

    def _write(self, runner: Runner, name: str, meta: dict) -> None:
        """Writes a checkpoint, then the pointer to it, then removes old ones. All ranks call it."""
        iteration = meta['iter']
        self.last_ckpt = self._path(name)
        # Later than all checkpoints that the run continued from, even if the clock was set back.
        self._position = Position(max(time.time(), self._position.written + 1e-3), iteration)
        meta = {**meta, WRITTEN: self._position.written}
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        # The list in the file still names what is removed afterwards, so that a kill in between leaves no orphan.
        names = [n for n in runner.message_hub.get_info(KEPT, []) if n != name] + [name]
        runner.message_hub.update_info(KEPT, names)
        if isinstance(loop := runner.train_loop, ExactLoop):
            self._progress = loop.progress(meta['epoch'], iteration, self._metrics is not None)
        failure = None
        try:
            self._save(runner, name, meta)
        except OSError as error:
            # Only rank 0 writes.
            failure = error
        if any_rank(failure is not None):
            raise self._failed(runner, failure) from failure
        self._progress = None
        self._saved_at = iteration
        self._others = [other for other in self._others if other != name]
        if self.keep > 0:
            old, names = names[: -self.keep], names[-self.keep :]
            runner.message_hub.update_info(KEPT, names)
            self.remove_files(list(map(self._path, old)))

    def _path(self, name: str) -> str:
        return self.file_backend.join_path(self.out_dir, name)

    def _save(self, runner: Runner, name: str, meta: dict) -> None:
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_atomically(Path(runner.work_dir) / POINTER, self.last_ckpt.encode())

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """As MMEngine's, which would remove the former best before it writes the new one."""
        if not self.save_best or not self._trains:
            return
        if lacking := [key for key in self.save_best if key != 'auto' and key not in metrics]:
            raise CheckpointError(
                f'save_best = {", ".join(lacking)}: no such figure. The evaluator gives {", ".join(metrics)}. Set '
                'default_hooks.checkpoint.save_best to one of these, then run the same command with --resume'
            )
        former = self.best_paths()
        # MMEngine removes what it finds here.
        self.set_best_paths(dict.fromkeys(former))
        # MMEngine saves the regular checkpoint again after a new best; that file then holds these metrics.
        self._metrics = metrics
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            raise self._failed(runner, error) from error
        except ValueError as error:
            if 'auto' not in self.save_best:
                raise
            # MMEngine learns the figure only now.
            raise CheckpointError(f"save_best='auto': {error}. Set rule='greater' or rule='less'") from error
        finally:
            self._metrics = None
        now = self.best_paths()
        self.set_best_paths({key: path or former.get(key) for key, path in now.items()})
        self.remove_files([path for key, path in former.items() if path and now[key] not in (None, path)])

    def _failed(self, runner: Runner, error: OSError | None) -> CheckpointError:
        """The error of a checkpoint that could not be written; `error` is None on the ranks that do not write."""
        if error is None:
            return CheckpointError('rank 0 could not write a checkpoint; see its message')
        try:
            good = resume.newest(Path(self.out_dir), Path(runner.work_dir) / POINTER, warn=runner.logger.warning)
        except CheckpointError:
            good = None
        last = f'The last good checkpoint is {good.path}' if good else 'No checkpoint was written before'
        return CheckpointError(
            f'{error.filename or self.last_ckpt} could not be written: {error.strerror or error}. '
            f'{shutil.disk_usage(self.out_dir).free:,} bytes are free in {self.out_dir}. {last}. Make room, then run '
            'the same command with --resume'
        )

    def best_paths(self) -> dict[str, str | None]:
        """Returns the path of the best checkpoint by metric; None where there is none yet."""
        if not self.save_best:
            return {}
        if len(self.key_indicators) == 1:
            return {'': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def set_best_paths(self, paths: dict[str, str | None]) -> None:
        """Sets what `best_paths` returns."""
        if not self.save_best:
            return
        if len(self.key_indicators) == 1:
            (self.best_ckpt_path,) = paths.values()
        else:
            self.best_ckpt_path_dict = paths

    def remove_files(self, paths: list[str]) -> None:
        """Removes files on rank 0, where they exist."""
        for path in paths:
            if is_main_process() and self.file_backend.isfile(path):
                self.file_backend.remove(path)
