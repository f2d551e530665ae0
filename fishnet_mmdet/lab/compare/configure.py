"""The config of a run: the track's config with another backbone, learning rate, schedule, seed and data split."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.hashes import file_hash
from fishnet_mmdet.lab.compare.experiment import CompareError, Experiment
from fishnet_mmdet.lab.compare.networks import level_channels
from fishnet_mmdet.lab.compare.runs import ExperimentRun
from fishnet_mmdet.training.launch import read_config


def configure(e: Experiment, run: ExperimentRun, out: Path) -> Config:
    """The whole config of a run. `fishnet-mmdet train` can train it too.

    Args:
        e: The experiment.
        run: The run.
        out: Folder of the experiment, for the run's work directory and the split of the training images.

    Raises:
        CompareError: Training annotations that cannot be read or split.
    """
    track = e.tracks[run.track]
    cfg = read_config(str(track.pretrain)) if run.kind == 'pretrain' else read_config(str(track.config), track.options)
    common = _common(cfg)
    spec = e.backbones[run.backbone]
    if run.kind == 'pretrain':
        _set_classifier(cfg, spec, common)
    else:
        cfg.model.backbone = ConfigDict(**spec, **common)
        cfg.model.neck.in_channels = level_channels(spec)
        if run.weights:
            cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=run.weights, prefix='backbone.')
    if run.kind == 'rate':
        _set_split(cfg, split(e, cfg, out))
    if run.rate is not None:
        cfg.optim_wrapper.optimizer.lr = run.rate
    if run.epochs is not None:
        stretch(cfg, run.epochs)
    cfg.randomness = dict(seed=run.seed)
    cfg.work_dir = str(out / run.folder)
    return cfg


def check_backbones(e: Experiment) -> None:
    """Checks, before any run, that no backbone sets what a track sets for all of them.

    Raises:
        CompareError: One does.
    """
    for name, track in e.tracks.items():
        for file, options in ((track.config, track.options), (track.pretrain, {})):
            common = _common(read_config(str(file), options)) if file else {}
            for backbone, spec in e.backbones.items():
                if both := sorted(spec.keys() & common.keys()):
                    raise CompareError(
                        f'{e.name}: backbones.{backbone} sets {", ".join(both)}, which {file.name} of track {name} '
                        'sets for all backbones alike: remove it from one of them'
                    )


def _common(cfg: Config) -> dict:
    """The settings of a track's backbone that hold for every backbone. None leaves a setting to each backbone."""
    return {k: v for k, v in cfg.model.backbone.items() if k not in ('type', 'arch') and v is not None}


def _set_classifier(cfg: Config, spec: Mapping, common: Mapping) -> None:
    """Puts a backbone into a classifier: FishNet keeps the paper's `FishNetNeck`, others get global average pooling."""
    last = level_channels(spec)[-1]
    cfg.model.backbone = ConfigDict(**{**spec, 'type': f'mmdet.{spec["type"]}'}, **common)
    if spec['type'] == 'FishNet':
        cfg.model.neck.in_channels, cfg.model.head.in_channels = last, last // 2
    else:
        cfg.model.backbone.out_indices = (3,)
        cfg.model.neck, cfg.model.head.in_channels = ConfigDict(type='GlobalAveragePooling'), last
        cfg.custom_imports.imports = [*cfg.custom_imports.imports, 'mmdet.models']


def stretch(cfg: Config, epochs: int) -> None:
    """Changes the number of epochs and scales warm-up, steps and clipping in proportion, in place.

    Args:
        cfg: A config with a schedule in epochs.
        epochs: The new number of epochs.
    """
    factor = epochs / cfg.train_cfg.max_epochs

    def moved(epoch: int) -> int:
        return max(1, round(epoch * factor)) if epoch else 0

    if isinstance(cfg.param_scheduler, dict):
        cfg.param_scheduler = [cfg.param_scheduler]
    for scheduler in cfg.param_scheduler:
        for key in ('begin', 'end', 'T_max'):
            if key in scheduler:
                scheduler[key] = moved(scheduler[key])
        if 'milestones' in scheduler:
            scheduler.milestones = [moved(milestone) for milestone in scheduler.milestones]
    cfg.param_scheduler = [s for s in cfg.param_scheduler if s.get('begin', 0) < s.get('end', epochs + 1)]
    for hook in cfg.get('custom_hooks', []):
        if hook.type == 'EarlyClipping':
            hook.epochs = moved(hook.epochs)
    cfg.train_cfg.max_epochs = epochs
    cfg.train_cfg.val_interval = min(cfg.train_cfg.val_interval, epochs)


def split(e: Experiment, cfg: Config, out: Path) -> tuple[Path, Path]:
    """Splits the training annotations into a part to train on and a held-out part; the same split every time.

    Args:
        e: The experiment.
        cfg: A config with the training set.
        out: Folder of the experiment; the files are written to `split/` in it.

    Returns:
        The annotation files of the two parts.

    Raises:
        CompareError: Annotations that cannot be read, or too few images for two parts.
    """
    dataset = cfg.train_dataloader.dataset
    source = Path(dataset.get('data_root') or '', dataset.ann_file)
    state = source.stat() if source.is_file() else None
    return _split(e.name, e.held_out, source, state and (state.st_mtime_ns, state.st_size), out)


@cache
def _split(name: str, share: float, source: Path, state: tuple[int, int] | None, out: Path) -> tuple[Path, Path]:
    try:
        whole = json.loads(source.read_text())
    except (OSError, ValueError) as error:
        raise CompareError(f'{source} cannot be read ({error}); is the data where the config says?') from error
    ids = sorted(image['id'] for image in whole['images'])
    count = round(len(ids) * share)
    if not 0 < count < len(ids):
        raise CompareError(f'{name}: held_out = {share} of {len(ids)} images leaves one part empty')
    chosen = set(np.random.default_rng(0).permutation(ids)[:count].tolist())
    paths = out / 'split' / 'train.json', out / 'split' / 'held_out.json'
    for path, held_out in zip(paths, (False, True), strict=True):
        part = {
            **whole,
            'images': [image for image in whole['images'] if (image['id'] in chosen) == held_out],
            'annotations': [a for a in whole['annotations'] if (a['image_id'] in chosen) == held_out],
        }
        content = json.dumps(part).encode()
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
    return paths


def _set_split(cfg: Config, paths: tuple[Path, Path]) -> None:
    train, held_out = (str(path.resolve()) for path in paths)
    images = cfg.train_dataloader.dataset.data_prefix
    cfg.train_dataloader.dataset.ann_file = train
    # A run of another division is a run of another config.
    cfg.held_out = dict(sha256=file_hash(paths[1]))
    for dataset in (cfg.val_dataloader.dataset, cfg.test_dataloader.dataset):
        dataset.ann_file, dataset.data_prefix = held_out, images
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = held_out
    cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs
