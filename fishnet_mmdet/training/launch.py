"""From a config file to a run: what tools/train.py and tools/test.py call."""

import argparse
import os
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

from mmdet.evaluation import DumpDetResults
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.evaluator import DumpResults
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from fishnet_mmdet import preflight
from fishnet_mmdet.training.checkpoints.plain import StrictLoading
from fishnet_mmdet.training.checkpoints.resume import POINTER, folder_of, newest, read
from fishnet_mmdet.training.checkpoints.resume import SCHEME as RUN_SCHEME
from fishnet_mmdet.training.distributed import is_main_process, leave_process_group, prepare_cpu_processes
from fishnet_mmdet.training.rank_zero import on_rank_zero
from fishnet_mmdet.training.stopping import nothing_to_save_yet
from fishnet_mmdet.weights.load import SCHEME

DEFAULT_TTA_MODEL = dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
TTA_META_KEYS = (
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction',
)  # fmt: skip


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that MMDetection's train and test tools share."""
    parser.add_argument('--work-dir', help='where logs, checkpoints and AP tables go')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings over those of the config, as key=value; lists as key="[a,b]" or key=a,b',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # torchrun sets LOCAL_RANK; the old torch.distributed.launch passes this flag instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Reads the config that the common arguments name, with their settings laid over it.

    The work dir is, in this order, the flag's, the config's, or work_dirs/NAME_OF_THE_CONFIG.

    Raises:
        PreflightError: No such config file, or one that builds on a package which is not installed.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    return cfg


def read_config(path: str, options: Mapping | None = None) -> Config:
    """Reads a config file, with settings laid over it, and makes what it names known to the registries.

    Raises:
        PreflightError: No such config file, or one that builds on a package which is not installed.
    """
    if not Path(path).is_file():
        raise preflight.PreflightError(f'config file not found: {Path(path).resolve()}')
    try:
        cfg = Config.fromfile(path)
    except ModuleNotFoundError as error:
        raise preflight.PreflightError(
            f'{path} builds on a package that is not installed: {error}. For classifiers: pip install '
            "'mmpretrain>=1.2,<1.3'; for semantic segmentation: pip install 'mmsegmentation>=1.2,<1.3' ftfy regex; "
            'then look at `python -m fishnet_mmdet.doctor`'
        ) from error
    except (SyntaxError, ValueError, OSError, KeyError, AttributeError, TypeError, NameError) as error:
        raise preflight.PreflightError(f'{path} cannot be read as a config: {type(error).__name__}: {error}') from error
    if options:
        cfg.merge_from_dict(options)
    register_all_modules(init_default_scope=False)
    return cfg


def train(
    cfg: Config,
    amp: bool = False,
    auto_scale_lr: bool = False,
    resume: str | None = None,
    skip_bad: bool = False,
) -> None:
    """Trains.

    Args:
        cfg: From `load_config`.
        amp: Whether to train in mixed precision.
        auto_scale_lr: Whether to scale the learning rate from `auto_scale_lr.base_batch_size` to the real batch.
        resume: A checkpoint, or 'auto' for the newest one in the work dir that can be read.
        skip_bad: Whether to train without bad images and annotations; see `fishnet_mmdet.preflight.drop_bad`.

    Raises:
        CheckpointError: No checkpoint that can be read, or one that cannot be written.
        SystemExit: The run was asked to stop, and saved; see `fishnet_mmdet.training.stopping`.
        WeightsError: Files that cannot be read or do not fit.
        PreflightError: Before anything is built; see `fishnet_mmdet.preflight`.
    """
    if amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    if auto_scale_lr:
        if not cfg.get('auto_scale_lr', {}).get('base_batch_size'):
            raise preflight.PreflightError(
                '--auto-scale-lr: the config does not say auto_scale_lr=dict(base_batch_size=...)'
            )
        cfg.auto_scale_lr.enable = True
    with nothing_to_save_yet():
        _choose_start(cfg, resume)
        splits = ['train'] + ['val'] * bool(cfg.get('val_cfg'))
        # MMEngine reads pretrained weights also where a resume or load_from overwrites them.
        on_rank_zero(cfg, lambda: _look(cfg, splits, weights=True, skip_bad=skip_bad))
        if skip_bad:
            preflight.use_cleaned(cfg)
        if cfg.get('val_dataloader'):  # those of training get it from their loop
            cfg.val_dataloader.setdefault('worker_init_fn', dict(type='isolate_worker_signals'))
        runner = build_runner(cfg)
        _warn_of_batch(runner)
        runner.train()
        del runner
        leave_process_group()


def test(
    cfg: Config,
    checkpoint: str,
    out: str | None = None,
    show_dir: str | None = None,
    show: bool = False,
    wait_time: float = 2,
    tta: bool = False,
    form: Hook | None = None,
) -> None:
    """Tests a checkpoint, prints its table: AP, accuracy, mean IoU or PQ.

    Args:
        cfg: From `load_config`.
        checkpoint: A file that training wrote, or any other that fits the model key by key; `fishnet://NAME` too.
        out: A .pkl file for the raw predictions.
        show_dir: A folder, below the run's log folder, for pictures of predictions beside the annotations; a
            segmentor's lies below the work dir.
        show: Whether to open windows with them.
        wait_time: Seconds that each window stays.
        tta: Whether to average over flips.
        form: A hook that changes the model once its weights are loaded, such as `deploy.TestOptimized`.

    Raises:
        PreflightError: Before anything is built; see `fishnet_mmdet.preflight`.
    """
    if out and not out.endswith(('.pkl', '.pickle')):
        raise preflight.PreflightError(f'--out {out}: the file of predictions must end in .pkl or .pickle')
    _check_file(checkpoint)
    # Through our own reader: any layout and container, and nothing unpickled.
    cfg.load_from = checkpoint if '://' in checkpoint else f'{SCHEME}{checkpoint}'
    if show or show_dir:
        _switch_on_pictures(cfg, show, show_dir, wait_time)
    if tta:
        _switch_on_tta(cfg)
    on_rank_zero(cfg, lambda: _look(cfg, ['test'], weights=False))
    runner = build_runner(cfg)
    runner.register_hook(StrictLoading())
    if form:
        runner.register_hook(form)
    if out:
        dump = DumpResults if is_classifier(cfg) or is_segmentor(cfg) else DumpDetResults
        runner.test_evaluator.metrics.append(dump(out_file_path=out))
    runner.test()
    del runner
    leave_process_group()


def build_runner(cfg: Config) -> Runner:
    """Builds the runner of a config, ready for several processes on the CPU too."""
    prepare_cpu_processes(cfg)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def _warn_of_batch(runner: Runner) -> None:
    """A learning rate that belongs to another batch is the commonest cause of a loss that blows up."""
    scaling = runner.cfg.get('auto_scale_lr', {})
    base, each = scaling.get('base_batch_size'), runner.cfg.train_dataloader.get('batch_size')
    if base and each and not scaling.get('enable') and runner.world_size * each != base:
        advice = f'--auto-scale-lr multiplies it by {runner.world_size * each / base:g}'
        if runner.cfg.get('resume'):
            advice = 'this resume keeps that of its checkpoint'
        runner.logger.warning(
            f'The batch is {runner.world_size} processes x {each} images, but the learning rate is meant for {base} '
            f'images: {advice}'
        )


def _choose_start(cfg: Config, resume: str | None) -> None:
    """Settles which file the run begins with, if any, to be read by our own readers: nothing in it is executed.

    Every rank comes to the same answer, each for itself: none has a process group yet.

    Raises:
        CheckpointError: The work dir has checkpoints, and not one can be read.
        PreflightError: No such file.
        WeightsError: A checkpoint that was named and cannot be resumed.
    """
    begin = cfg.get('load_from')
    if begin and begin.startswith(RUN_SCHEME):  # the config is one that a resumed run wrote down
        begin = None
    if resume is None and cfg.get('resume'):
        resume = begin or 'auto'
    found: Path | str | None = resume
    if resume == 'auto':
        tell = print if is_main_process() else (lambda line: None)
        if '://' in (_out_dir(cfg) or ''):
            raise preflight.PreflightError(
                f'--resume does not look into {_out_dir(cfg)}: name the checkpoint to go on from, as --resume ADDRESS'
            )
        folder = folder_of(cfg.work_dir, _out_dir(cfg))
        found = newest(folder, Path(cfg.work_dir) / POINTER, warn=tell)
        anew = f'from {begin}' if begin else 'anew'
        tell(f'Going on from {found}' if found else f'Nothing to resume in {folder}: the training starts {anew}')
    elif resume and '://' not in resume:
        _check_file(resume)
        read(resume)
    cfg.resume = found is not None
    scheme, chosen = (RUN_SCHEME, found) if found else (SCHEME, begin)
    if chosen and '://' not in str(chosen):
        _check_file(str(chosen))
        chosen = f'{scheme}{chosen}'
    cfg.load_from = chosen


def _look(cfg: Config, splits: Sequence[str], weights: bool, skip_bad: bool = False) -> None:
    """Prints what the preflight found, after a look at the folders that the run will write to."""
    _check_writable(Path(cfg.work_dir))
    if '://' not in (_out_dir(cfg) or ''):
        _check_writable(folder_of(cfg.work_dir, _out_dir(cfg)))
    print(preflight.check(cfg, splits, weights, skip_bad).text(), flush=True)


def _out_dir(cfg: Config) -> str | None:
    """What the config gives MMEngine's hook for the checkpoints; None is the work dir."""
    hook = cfg.get('default_hooks', {}).get('checkpoint') or {}
    return hook.get('out_dir')


def _check_writable(folder: Path) -> None:
    """Makes nothing yet: a run that ends at its data leaves no empty folder."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = 'you may not write there' if there.is_dir() else 'it is not a folder'
        raise preflight.PreflightError(
            f'{folder} cannot be written to, because of {there}: {why}. Choose another folder with --work-dir, or for '
            'checkpoints with default_hooks.checkpoint.out_dir'
        )


def _check_file(path: str | None) -> None:
    if path and '://' not in path and not Path(path).is_file():
        raise preflight.PreflightError(f'checkpoint not found: {Path(path).resolve()}')


def is_classifier(cfg: Config) -> bool:
    """Whether a config is mmpretrain's."""
    return cfg.get('default_scope') == 'mmpretrain'


def is_segmentor(cfg: Config) -> bool:
    """Whether a config is mmsegmentation's; panoptic ones are mmdet's."""
    return cfg.get('default_scope') == 'mmseg'


def _switch_on_pictures(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    if is_classifier(cfg):
        hook = dict(type='VisualizationHook', enable=True, interval=1, out_dir=show_dir)
    elif is_segmentor(cfg):
        hook = dict(type='SegVisualizationHook', draw=True, interval=1)
        if show_dir:  # the hook knows no folder; the visualizer writes to vis_data/vis_image below its own
            cfg.visualizer.save_dir = str(Path(cfg.work_dir) / show_dir)
    else:
        hook = cfg.default_hooks.get('visualization', dict(type='DetVisualizationHook'))
        hook = dict(hook, draw=True, test_out_dir=show_dir)
    cfg.default_hooks.visualization = dict(hook, show=show, wait_time=wait_time)


def _switch_on_tta(cfg: Config) -> None:
    """Test-time augmentation as MMDetection's own tool sets it up: the config's, or flips."""
    if is_classifier(cfg):
        raise preflight.PreflightError('--tta: test-time augmentation is for detectors')
    if cfg.model.get('roi_head', {}).get('mask_head'):
        raise preflight.PreflightError(
            "--tta: mmdet's test-time augmentation merges boxes only, and this detector predicts masks. Test it "
            'without --tta, or take its Faster R-CNN config'
        )
    if 'tta_model' not in cfg:
        warnings.warn('the config has no tta_model: boxes of both flips are merged by NMS', stacklevel=2)
        cfg.tta_model = DEFAULT_TTA_MODEL
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    if 'tta_pipeline' not in cfg:
        flips = [dict(type='RandomFlip', prob=p) for p in (1.0, 0.0)]
        pack = [dict(type='PackDetInputs', meta_keys=TTA_META_KEYS)]
        cfg.tta_pipeline = deepcopy(dataset.pipeline)
        cfg.tta_pipeline[-1] = dict(type='TestTimeAug', transforms=[flips, pack])
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline
