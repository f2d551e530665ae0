"""What the flags for pictures, backends of the log, --tta and --fast-eval change in a config."""

import os
import warnings
from copy import deepcopy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config, ConfigDict

from fishnet_mmdet.base.config_nodes import innermost_data_sets, mappings, name_of
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.evaluation.coco_eval import evaluator_class
from fishnet_mmdet.preflight.mmdet_classes import is_official_metric, is_panoptic_metric
from fishnet_mmdet.training.launch.config import is_classifier, is_segmentor
from fishnet_mmdet.training.pictures import in_folders

TTA_MERGING = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
TTA_META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')


def switch_on_pictures(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Makes a test draw pictures of predictions beside annotations.

    Args:
        cfg: The config; changed in place.
        show: Whether to show them in windows.
        show_dir: A folder to write them to.
        wait_time: Seconds that each window stays.
    """
    # mmdet and mmpretrain are imported only where they are needed; the imports register the hooks.
    if is_classifier(cfg):
        import fishnet_mmdet.training.classifier_pictures  # noqa: F401

        hook = dict(type='FolderVisualizationHook', enable=True, interval=1, out_dir=show_dir)
    elif is_segmentor(cfg):
        hook = dict(type='SegVisualizationHook', draw=True, interval=1)
        if show_dir:
            # The hook has no folder; the visualizer writes to vis_data/vis_image below its own.
            cfg.visualizer.save_dir = str(Path(cfg.work_dir) / show_dir)
    else:
        import fishnet_mmdet.training.detector_pictures  # noqa: F401

        hook = (cfg.get('default_hooks') or {}).get('visualization') or dict(type='DetVisualizationHook')
        hook = in_folders(hook, 'DetVisualizationHook', 'mmdet')
        hook = dict(hook, draw=True, test_out_dir=show_dir)
    cfg.default_hooks = dict(cfg.get('default_hooks') or {}, visualization=dict(hook, show=show, wait_time=wait_time))


def switch_on_backends(cfg: Config, tensorboard: bool = False, wandb: bool = False) -> None:
    """Makes a run write its figures and pictures for TensorBoard or Weights & Biases too.

    Args:
        cfg: The config; changed in place.
        tensorboard: Whether to write events for TensorBoard.
        wandb: Whether to write a run of Weights & Biases; its variables, such as WANDB_MODE=offline, count.

    Raises:
        ConfigError: The package is not installed.
    """
    for package, is_wanted in (('tensorboard', tensorboard), ('wandb', wandb)):
        if is_wanted and not find_spec(package):
            raise ConfigError(f'--{package}: the package {package} is not installed: pip install {package}')
    backends = [dict(type='TensorboardVisBackend')] * tensorboard
    if wandb:
        # WANDB_NAME would have no effect beside a name.
        named = {} if os.environ.get('WANDB_NAME') else dict(name=Path(cfg.work_dir).name)
        backends.append(dict(type='WandbFigures', init_kwargs=named))
        import_in(cfg, 'fishnet_mmdet.training.wandb_backend')
    if not backends:
        return
    visualizer = cfg.setdefault('visualizer', ConfigDict(type='Visualizer'))
    there = list(visualizer.get('vis_backends') or [dict(type='LocalVisBackend')])
    types = set(map(name_of, there))
    visualizer.vis_backends = there + [backend for backend in backends if backend['type'] not in types]


def import_in(cfg: Config, module: str) -> None:
    """Imports a module, and makes the config do so, which may be dumped and read again."""
    import_module(module)
    custom = cfg.setdefault('custom_imports', ConfigDict(imports=[], allow_failed_imports=False))
    imports = custom.get('imports') or []
    imports = [imports] if isinstance(imports, str) else list(imports)
    custom.imports = imports + [module] * (module not in imports)


def switch_on_val_pictures(cfg: Config, every: int) -> None:
    """Makes each validation draw predictions, of the same images each time, to `vis_data/vis_image` and the backends.

    Args:
        cfg: The config; changed in place.
        every: Draws the first image of every so many batches; classifiers: every so many images.

    Raises:
        ConfigError: `every` is less than 1.
    """
    if every < 1:
        raise ConfigError(f'--draw-val {every} must be at least 1: predictions of every so many batches are drawn')
    if is_classifier(cfg):
        hook = dict(type='VisualizationHook', enable=True, interval=every)
    elif is_segmentor(cfg):
        hook = dict(type='SegVisualizationHook', draw=True, interval=every)
    else:
        import_in(cfg, 'fishnet_mmdet.training.detector_pictures')
        hook = dict(type='ValPicturesHook', draw=True, interval=every)
    former = (cfg.get('default_hooks') or {}).get('visualization') or {}
    kept = {key: value for key, value in former.items() if key in ('score_thr', 'backend_args')}
    cfg.setdefault('default_hooks', ConfigDict()).visualization = {**kept, **hook}


def switch_on_tta(cfg: Config) -> None:
    """Switches on test-time augmentation as MMDetection's tool does: that of the config, or flips.

    Args:
        cfg: The config; changed in place.

    Raises:
        ConfigError: mmdet has no test-time augmentation for what the test evaluates.
    """
    if is_classifier(cfg):
        raise ConfigError('--tta: test-time augmentation is for detectors')
    for node in mappings(cfg.get('test_evaluator')):
        if is_panoptic_metric(node) or 'segm' in (node.get('metric') or ()):
            raise ConfigError(
                f"--tta: mmdet's test-time augmentation merges boxes only, and {name_of(node)} of test_evaluator "
                'evaluates masks. Test without --tta, or the boxes alone: test_evaluator.metric=bbox'
            )
    # A config of classes has no scope. MMEngine finds no name with the scope that it is in already.
    scope = '' if cfg.get('default_scope') == 'mmdet' else 'mmdet.'
    if 'tta_model' not in cfg:
        warnings.warn('the config has no tta_model: boxes of both flips are merged by NMS', stacklevel=2)
        cfg.tta_model = dict(type=f'{scope}DetTTAModel', tta_cfg=TTA_MERGING)
    flips = [dict(type=f'{scope}RandomFlip', prob=p) for p in (1.0, 0.0)]
    pack = [dict(type=f'{scope}PackDetInputs', meta_keys=TTA_META_KEYS)]
    augmentation = dict(type='TestTimeAug', transforms=[flips, pack])
    for dataset in innermost_data_sets(cfg.test_dataloader.dataset):
        dataset.pipeline = cfg.get('tta_pipeline') or [*deepcopy(dataset.pipeline[:-1]), augmentation]
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def switch_on_fast_eval(cfg: Config, split: str) -> None:
    """Makes the COCO metrics of a split compute their figures with faster-coco-eval.

    Args:
        cfg: The config; changed in place.
        split: 'val' or 'test'.

    Raises:
        ConfigError: The split has no `OfficialCocoMetric`.
        UserError: faster-coco-eval is not installed.
    """
    evaluator_class(fast=True)
    nodes = [node for node in mappings(cfg.get(f'{split}_evaluator')) if 'type' in node]
    official = [node for node in nodes if is_official_metric(node)]
    if not official:
        there = ', '.join(map(name_of, nodes)) or 'no metric'
        raise ConfigError(
            f"--fast-eval: {split}_evaluator has {there}, and faster-coco-eval computes OfficialCocoMetric's figures "
            'only: leave out the flag, or set the type of the metric'
        )
    for node in official:
        node['fast'] = True
