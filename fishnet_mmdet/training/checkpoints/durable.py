"""Checkpoints that survive a killed process, a full disk and a preempted job."""

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather, all_reduce, is_main_process
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fishnet_mmdet.base.atomic import clear_half_written, write_atomically
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.checkpoints import disk_room, resume
from fishnet_mmdet.training.checkpoints.early_stopping import restore_counts
from fishnet_mmdet.training.checkpoints.kept_settings import kept_settings
from fishnet_mmdet.training.checkpoints.loop_state import ExactLoop
from fishnet_mmdet.training.checkpoints.plain import PlainCheckpoints
from fishnet_mmdet.training.checkpoints.position import BEGINNING, CheckpointError, Position, written_at
from fishnet_mmdet.training.checkpoints.reader import hand_over
from fishnet_mmdet.training.checkpoints.resume import INTERRUPTED, POINTER, Survey
from fishnet_mmdet.training.checkpoints.writing import KEPT, LOOP_KEY, STOPPING_KEY, SafeWritingHook
from fishnet_mmdet.training.runner_parts import optim_wrappers
from fishnet_mmdet.training.stopping import STOPPED, StopRequest, any_rank


@HOOKS.register_module()
class DurableCheckpoints(SafeWritingHook):
    """MMEngine's CheckpointHook, with the same arguments, that loses nothing.

    - Files are written atomically. An old file is removed only when the new one is on the disk.
    - With `ResumableEpochLoop` or `ResumableIterLoop` as `train_cfg.type`, files hold what an exact resume needs.
    - A resume by `resume=True` alone skips damaged files.
    - Before training, the free room on the disk is compared with what will be written.
    - SIGTERM and SIGINT end the run after the current iteration, with a checkpoint and exit status 75.

    Args:
        interval: As for MMEngine's hook, like the next four.
        by_epoch: See there.
        save_optimizer: See there.
        save_param_scheduler: See there.
        out_dir: See there.
        max_keep_ckpts: How many checkpoints stay, -1 for all; at least 2, so that a damaged file leaves another one.
        args: Further arguments of MMEngine's hook, by position.
        kwargs: Further arguments of MMEngine's hook, by name.

    Attributes:
        survey: The checkpoints of the folder as they were when the run chose where to start. None: the hook looks for
            itself before training.

    Raises:
        ConfigError: `max_keep_ckpts` is 0 or 1.
        CheckpointError: While training: too little room, or a checkpoint that cannot be written.
    """

    def __init__(
        self,
        interval: int = -1,
        by_epoch: bool = True,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        out_dir: str | Path | None = None,
        max_keep_ckpts: int = 2,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if type(max_keep_ckpts) is not int or max_keep_ckpts in (0, 1):
            raise ConfigError(
                f'DurableCheckpoints: max_keep_ckpts = {max_keep_ckpts!r} must be at least 2, or -1 for all: with a '
                'single file, a disk that damages it loses the whole training'
            )
        # MMEngine removes old files before it writes; -1 lets it remove none.
        own = (interval, by_epoch, save_optimizer, save_param_scheduler, out_dir, -1)
        super().__init__(max_keep_ckpts, *own, *args, **kwargs)
        self.survey: Survey | None = None
        self._stop = StopRequest()
        self._resumed: dict[str, Any] | None = None
        self._stopping_counts: list[dict[str, Any]] = []
        self._kept_settings: list[str] = []
        self._interrupted = INTERRUPTED
        self._val_batches = 0

    def before_run(self, runner: Runner) -> None:
        """On a resume by `resume=True` alone, makes MMEngine's `last_checkpoint` name a file that can be read."""
        if _is_remote(self.out_dir or runner.work_dir):
            return
        given = self.backend_args or self.file_client_args or {}
        if given.get('backend', 'local') in ('local', 'disk'):
            self.backend_args, self.file_client_args = dict(backend='atomic'), None
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
        self.survey = Survey.of(resume.folder_of(runner.work_dir, self.out_dir), pointer)
        found = self.survey.newest(runner.logger.warning)
        if found is not None:
            write_atomically(pointer, str(found.path).encode())
            hand_over(found)
        else:
            # It named nothing, and MMEngine would fail on it.
            pointer.unlink(missing_ok=True)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Notes the loop's progress for `before_train`; only then is it known whether this is a resume."""
        self._resumed = checkpoint.get(LOOP_KEY)
        self._stopping_counts = checkpoint.get(STOPPING_KEY, [])
        self._kept_settings = kept_settings(runner, checkpoint)
        self._position = Position(written_at(checkpoint.get('meta')), 0)

    def before_train(self, runner: Runner) -> None:
        """Prepares the folder, checks the disk, listens for signals, and restores the loop's progress on a resume.

        Raises:
            CheckpointError: Too little room, or checkpoints that could not be read back.
        """
        if not any(isinstance(hook, PlainCheckpoints) for hook in runner.hooks):
            raise CheckpointError(
                'DurableCheckpoints would write pickled objects of MMEngine, which a resume cannot read safely: add '
                "dict(type='PlainCheckpoints') to custom_hooks, or safety=dict(type='SafetyHooks') to default_hooks"
            )
        super().before_train(runner)
        self._trains = True
        self._position = self._position._replace(iteration=runner.iter) if runner.iter else BEGINNING
        self._check_same_start()
        self._take_over_folder(runner)
        if is_main_process():
            for path in clear_half_written(runner.work_dir, self.out_dir):
                runner.logger.info(f'Removed {path}, which a killed run had not finished')
        loop = runner.train_loop
        if not isinstance(loop, ExactLoop):
            runner.logger.warning(
                f'{type(loop).__name__} cannot be resumed exactly: no random state is stored. Set train_cfg.type to '
                'ResumableEpochLoop or ResumableIterLoop'
            )
        self._check_room(runner)
        if runner.iter > 0:
            self._warn_of_kept_settings(runner)
            restore_counts(runner, self._stopping_counts)
        self._stop.listen()
        if runner.iter > 0 and isinstance(loop, ExactLoop):
            self._restore_progress(runner, loop)

    def _warn_of_kept_settings(self, runner: Runner) -> None:
        """A longer schedule that has no effect would leave the learning rate at the end of the old one."""
        if self._kept_settings:
            listed = '\n'.join(f'  {line}' for line in self._kept_settings)
            runner.logger.warning(
                f'A resume continues with the schedule and the optimizer of its checkpoint. Other settings of the '
                f'config have no effect:\n{listed}\nTo train with those, start a new run from the weights: '
                '--cfg-options load_from=FILE, without --resume, and with another --work-dir'
            )
        if runner.iter >= runner.max_iters:
            runner.logger.warning(
                f'Nothing is left to train: the checkpoint has {runner.iter} of {runner.max_iters} iterations. To '
                'train longer, set more epochs or iterations in train_cfg'
            )

    def _check_same_start(self) -> None:
        """Ranks that see different folders would train a mixture."""
        starts = [tuple(each.tolist()) for each in all_gather(torch.tensor(self._position, dtype=torch.float64))]
        if len(set(starts)) > 1:
            listed = ', '.join(
                f'rank {rank} from iteration {count:.0f} written at second {seconds:.3f}'
                for rank, (seconds, count) in enumerate(starts)
            )
            raise CheckpointError(
                f'the processes would resume from different checkpoints: {listed}. All must see the same files: put '
                '--work-dir on storage that they share, or name a file with --resume FILE'
            )

    def _take_over_folder(self, runner: Runner) -> None:
        """Settles which files of the folder belong to this run, which may replace and remove them; warns of others."""
        folder, survey = Path(self.out_dir), None
        remote = _is_remote(self.out_dir)
        if is_main_process() and not remote:
            known = self.survey is not None and self.survey.folder == folder
            survey = self.survey if known else Survey.of(folder, Path(runner.work_dir) / POINTER)
        self.survey = None
        if remote or any_rank(survey is not None and survey.holds(self._position)):
            position = self._position
            # The run may have been copied here: its best checkpoint counts if it is here, not where it once was.
            here = {key: path and self._path(Path(path).name) for key, path in self.best_paths().items()}
            self.set_best_paths(here)
        else:
            position = BEGINNING
            # A checkpoint from elsewhere names files that lie elsewhere.
            self.set_best_paths(dict.fromkeys(self.best_paths()))
            runner.message_hub.update_info(KEPT, [])
        if remote:
            return
        self._interrupted = resume.name_for_interruption(folder, runner.message_hub.get_info(KEPT, []))
        self._others = survey.later_than(position) if survey else []
        if self._others:
            runner.logger.warning(
                f'{folder} holds checkpoints of another run: {", ".join(self._others)}. Until this run has written its '
                'first checkpoint, --resume would continue the other run. Files of the same name will be replaced. '
                'Another --work-dir keeps the two apart'
            )

    def _check_room(self, runner: Runner) -> None:
        problem = None
        if is_main_process() and not _is_remote(self.out_dir):
            folder = Path(self.out_dir)
            folder.mkdir(parents=True, exist_ok=True)
            own = runner.message_hub.get_info(KEPT, [])
            plan = disk_room.Plan(folder, self.interval, self.by_epoch, self.keep, len(self.save_best or []), own)
            problem = disk_room.check_room(runner, plan)
        if any_rank(problem is not None):
            raise CheckpointError(problem or 'rank 0 found too little room for checkpoints; see its message')

    def _restore_progress(self, runner: Runner, loop: ExactLoop) -> None:
        reason = loop.restore_progress(self._resumed)
        self._resumed = None
        if not reason and not _is_whole_step(runner):
            reason = 'a gradient was being accumulated when the checkpoint was written, and it does not hold gradients'
        if reason:
            runner.logger.warning(f'The training continues, but not exactly as it would have: {reason}')
        else:
            last = self._path(Path(runner.message_hub.get_info('last_ckpt')).name)
            if self.file_backend.isfile(last):
                self.last_ckpt, self._saved_at = last, runner.iter
        loop.make_up_validation()

    def after_train(self, runner: Runner) -> None:
        """As MMEngine's; then signals have their former effect again."""
        self._stop.restore_handlers()
        super().after_train(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Saves where MMEngine's hook does, and where the run was asked to stop."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._stop.on_any_rank() and _is_whole_step(runner):
            if self._saved_at != runner.iter + 1:
                self._write(runner, self._interrupted, dict(epoch=runner.epoch, iter=runner.iter + 1))
            self._leave(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Counts the batches that every rank has: in further ones, a rank would wait for others in vain."""
        try:
            batches = len(runner.val_dataloader)
        except TypeError:
            # A stream has no length: stop only after the validation.
            batches = 0
        count = torch.tensor([batches])
        all_reduce(count, 'min')
        self._val_batches = int(count)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stops during a validation if the validated weights are saved; otherwise after the next training iteration."""
        # In a validation alone, `runner.iter` would build the training loop.
        saved = self._trains and self._saved_at == runner.iter and _is_whole_step(runner)
        if saved and batch_idx < self._val_batches and self._stop.on_any_rank():
            self._leave(runner)

    def _leave(self, runner: Runner) -> None:
        others = f'; --resume FILE resumes from one of another run ({", ".join(self._others)})' if self._others else ''
        runner.logger.warning(
            f'Asked to stop: the checkpoint is {self.last_ckpt}. To continue, run the same command with --resume'
            f'{others}; exit status {STOPPED}'
        )
        # The run ends in order: LostRankGuard must not report this process as dead.
        runner.call_hook('after_run')
        raise SystemExit(STOPPED)


def _is_whole_step(runner: Runner) -> bool:
    """Whether no gradient is being accumulated; a checkpoint would not hold it."""
    return all(wrapper.should_update() for wrapper in optim_wrappers(runner))


def _is_remote(folder: Path | str) -> bool:
    return '://' in str(folder)
