"""Trains a model from its config."""

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from fishnet_mmdet import preflight
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.checkpoints.complete import CompleteResume
from fishnet_mmdet.training.checkpoints.durable import DurableCheckpoints
from fishnet_mmdet.training.console import Screen
from fishnet_mmdet.training.console.hook import follow
from fishnet_mmdet.training.console.summary import rows_of_training
from fishnet_mmdet.training.distributed import leave_process_group
from fishnet_mmdet.training.launch.checks import run_checks, show_config
from fishnet_mmdet.training.launch.runner import build_runner, config_mistakes
from fishnet_mmdet.training.launch.start import Start, choose_start
from fishnet_mmdet.training.rank_zero import on_rank_zero
from fishnet_mmdet.training.stopping import nothing_to_save_yet


def train(
    cfg: Config,
    *,
    amp: bool = False,
    auto_scale_lr: bool = False,
    resume: str | None = None,
    skip_bad: bool = False,
    console: str = 'auto',
) -> None:
    """Trains a model.

    On a resume, the pretrained files of the config are neither checked nor read: the checkpoint has all weights. With
    `strict_resume=False` in the config they are, as in MMEngine, and a checkpoint that lacks weights is accepted.

    Args:
        cfg: A config from `load_config`; changed in place.
        amp: Whether to train in mixed precision.
        auto_scale_lr: Whether to scale the learning rate from `auto_scale_lr.base_batch_size` to the real batch size.
        resume: A checkpoint, or 'auto' for the newest one in the work dir that can be read.
        skip_bad: Whether to train without bad images and annotations; see `fishnet_mmdet.preflight.drop_bad`.
        console: What is shown, a key of `fishnet_mmdet.training.console.MODES`.

    Raises:
        CheckpointError: No checkpoint that can be read, or one that cannot be written.
        ConfigError: A setting that cannot be used.
        PreflightError: Before anything is built; see `fishnet_mmdet.preflight`.
        SystemExit: The run was asked to stop, and saved; see `fishnet_mmdet.training.stopping`.
        WeightsError: Files that cannot be read or do not fit.
    """
    if amp:
        _use_mixed_precision(cfg)
    if auto_scale_lr:
        _switch_on_scaling(cfg)
    with nothing_to_save_yet(), Screen(console) as screen:
        show_config(screen, cfg)
        start = choose_start(cfg, resume)
        start.apply_to(cfg)
        strict = start.weights is not None and cfg.get('strict_resume', True)
        splits = ['train'] + ['val'] * bool(cfg.get('val_cfg'))
        on_rank_zero(cfg, lambda: run_checks(cfg, screen, splits, weights=not strict, skip_bad=skip_bad))
        if skip_bad:
            preflight.use_cleaned(cfg)
        screen.set_status('building the model and the data sets')
        runner = build_runner(cfg, screen)
        follow(runner, screen, rows_of_training)
        _inform_hooks(runner, start, strict)
        _warn_of_batch_size(runner)
        with config_mistakes(cfg):
            runner.train()
        del runner
        leave_process_group()


def _use_mixed_precision(cfg: Config) -> None:
    if get_device() != 'cpu':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
        return
    # Settings of MMEngine's wrappers that bfloat16 does not need.
    for key in ('loss_scale', 'dtype', 'use_fsdp'):
        cfg.optim_wrapper.pop(key, None)
    cfg.optim_wrapper.type = 'CpuAmpOptimWrapper'


def _switch_on_scaling(cfg: Config) -> None:
    if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise ConfigError('--auto-scale-lr: the config must have auto_scale_lr=dict(base_batch_size=...)')
    cfg.auto_scale_lr.enable = True


def _inform_hooks(runner: Runner, start: Start, strict: bool) -> None:
    """Hands on what is known of the start, so that no file is looked at again."""
    for hook in runner.hooks:
        if isinstance(hook, DurableCheckpoints):
            hook.survey = start.survey
    if strict:
        runner.register_hook(CompleteResume(start.weights))


def _warn_of_batch_size(runner: Runner) -> None:
    """A learning rate for another batch size is the most frequent cause of a loss that diverges."""
    scaling = runner.cfg.get('auto_scale_lr') or {}
    base, each = scaling.get('base_batch_size'), runner.cfg.train_dataloader.get('batch_size')
    steps = (runner.cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    # Some samplers take a list of sizes.
    if not (base and isinstance(each, int)):
        return
    batch = runner.world_size * each
    if scaling.get('enable') and steps > 1:
        runner.logger.warning(
            f'--auto-scale-lr does not count the {steps} steps of accumulative_counts: the batch is {batch * steps} '
            f'images, and the learning rate is scaled to {batch}'
        )
    elif not scaling.get('enable') and batch * steps != base:
        advice = f'--auto-scale-lr multiplies it by {batch / base:g}'
        if steps > 1:
            advice = f'with the {steps} steps of accumulative_counts, multiply the rate by {batch * steps / base:g}'
        if runner.cfg.get('resume'):
            advice = 'this resume keeps the learning rate of its checkpoint'
        runner.logger.warning(
            f'The batch is {runner.world_size} processes x {each} images, but the learning rate is meant for {base} '
            f'images: {advice}'
        )
