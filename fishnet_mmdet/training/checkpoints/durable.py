"""Checkpoints that survive a kill, a full disk and a preemption."""

import math
import shutil
import time
from pathlib import Path
from typing import Any

import mmengine.fileio
import torch
from mmengine.dist import all_gather, all_reduce, is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Optimizer

from fishnet_mmdet.files.atomic import clear_half_written, write_atomically
from fishnet_mmdet.training.checkpoints import resume
from fishnet_mmdet.training.checkpoints.plain import PlainCheckpoints
from fishnet_mmdet.training.checkpoints.resume import INTERRUPTED, POINTER, CheckpointError
from fishnet_mmdet.training.loops import ResumableEpochLoop, ResumableIterLoop
from fishnet_mmdet.training.stopping import STOPPED, StopRequest, any_rank

LOOP_KEY = 'loop'
"""Of a checkpoint: where the training loop stood."""

KEPT = 'kept_checkpoints'
"""In MMEngine's message hub: names of the newest files, oldest first, that are there or still to be removed."""


class AtomicBackend(LocalBackend):
    """MMEngine's local files, written atomically: `backend_args=dict(backend='atomic')` wherever MMEngine takes it."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes bytes; see `write_atomically`."""
        write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Writes text; see `write_atomically`."""
        write_atomically(filepath, obj.encode(encoding))


mmengine.fileio.register_backend('atomic', AtomicBackend, force=True)


@HOOKS.register_module()
class DurableCheckpoints(CheckpointHook):
    """MMEngine's CheckpointHook, with the same arguments, that loses nothing.

    - Files are written atomically, and an old one is removed only when the new one is on the disk.
    - With `ResumableEpochLoop` or `ResumableIterLoop` as `train_cfg.type` they hold what an exact resume needs.
    - A resume by `resume=True` alone passes over damaged files.
    - Before training it looks whether the disk has room for what is going to be written.
    - SIGTERM and SIGINT end the run after the current iteration, with a checkpoint and exit status 75.

    Args:
        max_keep_ckpts: How many checkpoints stay, -1 for all; at least 2, so that a damaged one is no loss.
        kwargs: As for MMEngine's hook.

    Raises:
        ValueError: `max_keep_ckpts` is 0 or 1.
        CheckpointError: While training: no room, or a checkpoint that cannot be written.
    """

    def __init__(self, *, max_keep_ckpts: int = 2, **kwargs: Any) -> None:
        if type(max_keep_ckpts) is not int or max_keep_ckpts in (0, 1):
            raise ValueError(
                f'DurableCheckpoints: max_keep_ckpts = {max_keep_ckpts!r} must be at least 2, or -1 for all: with a '
                'single file, a disk that damages it takes the whole training'
            )
        # The removal of old files is done here, not by MMEngine, which removes before it writes.
        super().__init__(max_keep_ckpts=-1, **kwargs)
        self.keep = max_keep_ckpts
        self._stop = StopRequest()
        self._saved_at: int | None = None
        self._progress: dict[str, Any] | None = None
        self._resumed: dict[str, Any] | None = None
        self._stood = (0.0, 0)
        self._others: list[str] = []
        self._interrupted = INTERRUPTED
        self._validated = False
        self._val_batches = 0

    def before_run(self, runner: Runner) -> None:
        """On a resume, lets MMEngine's `last_checkpoint` name a file that can be read."""
        if '://' in str(self.out_dir or runner.work_dir):
            return
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend='atomic')
        problem = None
        if is_main_process():
            try:
                if runner.cfg.get('resume') and not runner.cfg.get('load_from'):
                    self._fix_pointer(runner)
            except CheckpointError as error:
                problem = error
        if any_rank(problem is not None):
            raise problem or CheckpointError('rank 0 found no checkpoint to resume from; see its message')

    def _fix_pointer(self, runner: Runner) -> None:
        pointer = Path(runner.work_dir) / POINTER
        folder = resume.folder_of(runner.work_dir, self.out_dir)
        found = resume.newest(folder, pointer, warn=runner.logger.warning)
        if found is not None:
            write_atomically(pointer, str(found).encode())
        else:
            pointer.unlink(missing_ok=True)  # it named nothing, and MMEngine would stop at that

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remembers where the loop stood, for `before_train`: only then is it known whether this is a resume."""
        self._resumed = checkpoint.get(LOOP_KEY)
        self._stood = resume.written_at(checkpoint.get('meta')), 0

    def before_train(self, runner: Runner) -> None:
        """Clears what a kill left half-written; checks the disk; listens to signals; goes on where the checkpoint was.

        Raises:
            CheckpointError: Too little room, or checkpoints that could not be read back.
        """
        if not any(isinstance(hook, PlainCheckpoints) for hook in runner.hooks):
            raise CheckpointError(
                'DurableCheckpoints writes what MMEngine pickles, which no resume could read back safely: add '
                "dict(type='PlainCheckpoints') to custom_hooks"
            )
        super().before_train(runner)
        self._stood = (self._stood[0], runner.iter) if runner.iter else (0.0, 0)
        self._check_same_start()
        self._look_around(runner)
        if is_main_process():
            for path in clear_half_written(runner.work_dir, self.out_dir):
                runner.logger.info(f'Removed {path}, which a run that was killed had not finished')
        loop = runner.train_loop
        resumable = isinstance(loop, ResumableEpochLoop | ResumableIterLoop)
        if not resumable:
            runner.logger.warning(
                f'{type(loop).__name__} cannot be resumed exactly: no random state is kept. Set train_cfg.type to '
                'ResumableEpochLoop or ResumableIterLoop'
            )
        problem = self._check_room(runner) if is_main_process() else None
        if any_rank(problem is not None):
            raise CheckpointError(problem or 'rank 0 found too little room for checkpoints; see its message')
        self._stop.listen()
        if runner.iter > 0 and resumable:
            self._go_on(runner, loop)

    def _check_same_start(self) -> None:
        """Ranks that see different folders would train a mixture."""
        starts = [tuple(each.tolist()) for each in all_gather(torch.tensor(self._stood, dtype=torch.float64))]
        if len(set(starts)) > 1:
            listed = ', '.join(
                f'rank {rank} from iteration {count:.0f} written at second {seconds:.3f}'
                for rank, (seconds, count) in enumerate(starts)
            )
            raise CheckpointError(
                f'the processes would go on from different checkpoints: {listed}. All must see the same files: put '
                '--work-dir on storage that they share, or name a file with --resume FILE'
            )

    def _look_around(self, runner: Runner) -> None:
        """Settles which of the files here are this run's own, to be replaced and removed, and tells of others."""
        folder = Path(self.out_dir)
        remote = '://' in str(self.out_dir)
        if remote or any_rank(is_main_process() and resume.holds(folder, self._stood)):
            stood = self._stood
            # The best of a run that was copied here is here as well, or nowhere: not where the run once was.
            here = {key: path and self._path(Path(path).name) for key, path in self._best_paths().items()}
            self._set_best_paths(here)
        else:
            stood = (0.0, 0)
            # A checkpoint from elsewhere names files that lie elsewhere.
            self._set_best_paths(dict.fromkeys(self._best_paths()))
            runner.message_hub.update_info(KEPT, [])
        if remote:
            return
        self._interrupted = resume.name_for_interruption(folder, runner.message_hub.get_info(KEPT, []))
        self._others = resume.later(folder, stood) if is_main_process() else []
        if self._others:
            runner.logger.warning(
                f'{folder} holds checkpoints of another run: {", ".join(self._others)}. Until this one has written its '
                'first, --resume would go on from there, and files of the same name will be replaced; another '
                '--work-dir keeps them apart'
            )

    def _go_on(self, runner: Runner, loop: ResumableEpochLoop | ResumableIterLoop) -> None:
        """Takes the loop to where the checkpoint was written."""
        reason = loop.go_on(self._resumed)
        self._resumed = None
        if not reason and not _is_whole_step(runner):
            reason = 'a gradient was being accumulated over this checkpoint, which does not hold it'
        if reason:
            runner.logger.warning(f'The training goes on, but not exactly as it would have: {reason}')
        else:
            last = self._path(Path(runner.message_hub.get_info('last_ckpt')).name)
            if self.file_backend.isfile(last):
                self.last_ckpt, self._saved_at = last, runner.iter
        loop.make_up_validation()

    def after_train(self, runner: Runner) -> None:
        """As MMEngine's; signals mean again what they meant before."""
        self._stop.hang_up()
        super().after_train(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Saves where MMEngine's does, and where the run is asked to stop."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._stop.agreed() and _is_whole_step(runner):
            if self._saved_at != runner.iter + 1:
                self._write(runner, self._interrupted, dict(epoch=runner.epoch, iter=runner.iter + 1))
            self._leave(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Counts the batches that every rank has: for further ones some would wait in vain for the others."""
        count = torch.tensor([len(runner.val_dataloader)])
        all_reduce(count, 'min')
        self._val_batches = int(count)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stops during a validation if the weights that it is of are saved; else it waits for the next iteration."""
        saved = self._saved_at == runner.iter and _is_whole_step(runner)
        if saved and batch_idx < self._val_batches and self._stop.agreed():
            self._leave(runner)

    def _leave(self, runner: Runner) -> None:
        others = f', and --resume FILE goes on from one of another run ({", ".join(self._others)})'
        runner.logger.warning(
            f'Asked to stop: the checkpoint is {self.last_ckpt}. To go on, run the same command with --resume'
            f'{others if self._others else ""}; exit status {STOPPED}'
        )
        runner.call_hook('after_run')  # an end like any other: nobody takes this process for a dead one
        raise SystemExit(STOPPED)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds where the loop stands."""
        if self._progress is not None:
            checkpoint[LOOP_KEY] = self._progress

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """What MMEngine's hook calls to write a checkpoint, regular ones and after a new best."""
        self._write(runner, self.filename_tmpl.format(step), meta)

    def _write(self, runner: Runner, name: str, meta: dict) -> None:
        """Writes a checkpoint, then the pointer to it, then removes what is too old. All ranks call it."""
        iteration = meta['iter']
        self.last_ckpt = self._path(name)
        # Later than all that it goes back to, whatever became of the clock.
        self._stood = max(time.time(), self._stood[0] + 1e-3), iteration
        meta = {**meta, resume.WRITTEN: self._stood[0]}
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        # The list that goes into the file still has what is removed afterwards: a kill in between leaves no orphan.
        names = [n for n in runner.message_hub.get_info(KEPT, []) if n != name] + [name]
        runner.message_hub.update_info(KEPT, names)
        if isinstance(loop := runner.train_loop, ResumableEpochLoop | ResumableIterLoop):
            self._progress = loop.progress(meta['epoch'], iteration, self._validated)
        failure = None
        try:
            self._save(runner, name, meta)
        except OSError as error:  # on rank 0, which alone writes
            failure = error
        if any_rank(failure is not None):
            raise self._failed(runner, failure) from failure
        self._progress = None
        self._saved_at = iteration
        self._others = [other for other in self._others if other != name]
        if self.keep > 0:
            old, names = names[: -self.keep], names[-self.keep :]
            runner.message_hub.update_info(KEPT, names)
            self._remove(list(map(self._path, old)))

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

    def _failed(self, runner: Runner, error: OSError | None) -> CheckpointError:
        """What to say when a checkpoint could not be written; the error is None on the ranks that only heard of it."""
        if error is None:
            return CheckpointError('rank 0 could not write a checkpoint; see its message')
        try:
            good = resume.newest(Path(self.out_dir), Path(runner.work_dir) / POINTER, warn=runner.logger.warning)
        except CheckpointError:
            good = None
        last = f'The last good checkpoint is {good}' if good else 'No checkpoint was written before'
        return CheckpointError(
            f'{error.filename or self.last_ckpt} could not be written: {error.strerror or error}. '
            f'{shutil.disk_usage(self.out_dir).free:,} bytes are free in {self.out_dir}. {last}. Make room, then run the '
            'same command with --resume'
        )

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """As MMEngine's, which would remove the former best before it writes the new one."""
        if not self.save_best:
            return
        former = self._best_paths()
        self._set_best_paths(dict.fromkeys(former))
        self._validated = True  # what is saved again now holds these metrics
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            raise self._failed(runner, error) from error
        finally:
            self._validated = False
        now = self._best_paths()
        self._set_best_paths({key: path or former.get(key) for key, path in now.items()})
        self._remove([path for key, path in former.items() if path and now[key] not in (None, path)])

    def _best_paths(self) -> dict[str, str | None]:
        if not self.save_best:
            return {}
        if len(self.key_indicators) == 1:
            return {'': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if not self.save_best:
            return
        if len(self.key_indicators) == 1:
            (self.best_ckpt_path,) = paths.values()
        else:
            self.best_ckpt_path_dict = paths

    def _remove(self, paths: list[str]) -> None:
        for path in paths:
            if is_main_process() and self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _check_room(self, runner: Runner) -> str | None:
        """What is wrong with the disk, if anything: too little room for the checkpoints that are still to come."""
        if '://' in str(self.out_dir):
            return None
        folder = Path(self.out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        each = checkpoint_bytes(runner)
        step, last = (runner.epoch, runner.max_epochs) if self.by_epoch else (runner.iter, runner.max_iters)
        count = math.ceil(max(last - step, 0) / self.interval) if self.interval > 0 else 1
        if self.keep > 0:
            count = min(count, self.keep + 1)  # the old ones stay until the new one is there
        best = len(self.save_best or [])
        kept = [folder / name for name in runner.message_hub.get_info(KEPT, [])]
        there = sum(file.stat().st_size for file in kept if file.is_file())  # of a run that is resumed
        needed = each * (count + 1 + best) - there  # one more for when the run is interrupted
        free = shutil.disk_usage(folder).free
        if needed <= free:
            return None
        told = (
            f'{folder} has {_gib(free)} free, and {count} checkpoints of about {_gib(each)}'
            f'{f", {best} of the best" if best else ""} and one for an interruption need {_gib(needed)}'
        )
        if self.keep < 0 and free > 3 * each:
            runner.logger.warning(f'{told}: the disk will be full before the end, as max_keep_ckpts is -1')
            return None
        return f'{told}. Make room, or choose another folder with --work-dir, or less to keep with max_keep_ckpts'


def checkpoint_bytes(runner: Runner) -> int:
    """About how large a checkpoint is going to be, from the model, its averages and what the optimizer will keep."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    weights = sum(tensor.nbytes for tensor in model.state_dict().values() if isinstance(tensor, Tensor))
    averages = sum(hasattr(hook, 'ema_model') for hook in runner.hooks)
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return weights * (1 + averages) + sum(_optimizer_bytes(w.optimizer) for w in wrappers) + 2**20


def _optimizer_bytes(optimizer: Optimizer) -> int:
    """SGD keeps one tensor for each trained parameter if it has momentum; Adam and nearly all others keep two."""
    total = 0
    for group in optimizer.param_groups:
        tensors = int(group['momentum'] != 0) if 'momentum' in group and 'betas' not in group else 2
        total += tensors * sum(p.nbytes for p in group['params'] if p.requires_grad)
    return total


def _is_whole_step(runner: Runner) -> bool:
    """Whether no gradient is being accumulated, which a checkpoint would not hold."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return all(w.should_update() for w in wrappers)


def _gib(count: int) -> str:
    return f'{count / 2**30:.2f} GiB'
