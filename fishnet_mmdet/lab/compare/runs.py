"""The runs of an experiment: which there are, in which order, with which config each."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict

from fishnet_mmdet.files.atomic import write_atomically
from fishnet_mmdet.lab.compare.experiment import CompareError, Experiment, Track, level_channels
from fishnet_mmdet.training.launch import read_config

KINDS = ('pretrain', 'rate', 'epochs', 'time')
"""In the order in which they need one another. 'epochs': as many for every backbone, the table's first reading; 'time':
as much device time for every backbone, its second."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training.

    Attributes:
        track: Name of its track.
        backbone: Name of its backbone.
        kind: One of `KINDS`.
        seed: Of weights, order and augmentation.
        rate: Learning rate; None: the config's.
        epochs: None: the config's.
        weights: Checkpoint of the classifier that its backbone was trained in.
    """

    track: str
    backbone: str
    kind: str
    seed: int = 0
    rate: float | None = None
    epochs: int | None = None
    weights: str | None = None

    @property
    def folder(self) -> Path:
        """Below the experiment's: TRACK/BACKBONE/WHICH."""
        which = {
            'pretrain': 'pretrain',
            'rate': f'rate-{self.rate or 0:g}',
            'epochs': f'epochs-seed-{self.seed}',
            'time': f'time-{self.epochs}-epochs-seed-{self.seed}',
        }
        return Path(self.track, self.backbone, which[self.kind])

    def __str__(self) -> str:
        return str(self.folder)


def ordered(e: Experiment, done: Mapping[Path, Mapping], kinds: tuple[str, ...] = KINDS) -> Iterator[Run]:
    """The runs in their order, each as soon as what it depends on is there.

    Args:
        e: The experiment.
        done: Results by folder, as they come in while the caller goes on: a learning rate is chosen, and device time
            made equal, from what is in it by then.
        kinds: Which kinds of runs are wanted.

    Yields:
        A run whose folder may be in `done` already. Where results are missing that a run needs, because another one
        failed, that run and all that need it are left out.
    """
    for group in e.rounds:
        for name, track in e.tracks.items():
            if track.pretrain:
                yield from (Run(track=name, backbone=b, kind='pretrain') for b in group)
            ready = [b for b in group if not track.pretrain or weights_of(name, b, done)]
            if 'rate' in kinds:
                yield from (_rate_run(e, name, b, rate, done) for b in ready for rate in track.rates)
            if 'epochs' in kinds:  # by seed first: a half-finished comparison is one of equals
                yield from _that_count(e, name, ready, done, 'epochs')
    if 'time' in kinds:
        for name in e.tracks:
            yield from _that_count(e, name, [b for group in e.rounds for b in group], done, 'time')


def _rate_run(e: Experiment, track: str, backbone: str, rate: float, done: Mapping[Path, Mapping]) -> Run:
    weights = weights_of(track, backbone, done)
    return Run(track=track, backbone=backbone, kind='rate', rate=rate, epochs=e.rate_epochs, weights=weights)


def _that_count(
    e: Experiment, track: str, backbones: list[str], done: Mapping[Path, Mapping], reading: str
) -> Iterator[Run]:
    for seed in e.seeds:
        for backbone in backbones:
            rate = best_rate(e.tracks[track], track, backbone, done)
            if rate is not None:
                run = counted(e, track, backbone, reading, seed, done)
                yield replace(run, rate=rate, weights=weights_of(track, backbone, done))


def counted(e: Experiment, track: str, backbone: str, reading: str, seed: int, done: Mapping[Path, Mapping]) -> Run:
    """The run that a reading takes the figures of a backbone from; of the slowest one it is the same in both readings."""
    epochs = epochs_of_equal_time(e, track, backbone, done) if reading == 'time' else None
    kind = 'time' if epochs else 'epochs'
    return Run(track=track, backbone=backbone, kind=kind, seed=seed, epochs=epochs)


def weights_of(track: str, backbone: str, done: Mapping[Path, Mapping]) -> str | None:
    """The checkpoint that a backbone's pretraining left."""
    return done.get(Run(track=track, backbone=backbone, kind='pretrain').folder, {}).get('checkpoint')


def best_rate(track: Track, name: str, backbone: str, done: Mapping[Path, Mapping]) -> float | None:
    """The rate of the highest segm AP on the held-out images, once all of the grid were tried; None before or without one."""
    tried = [done.get(Run(track=name, backbone=backbone, kind='rate', rate=r).folder) for r in track.rates]
    if not all(tried):
        return None
    aps = {rate: result['segm']['AP'] for rate, result in zip(track.rates, tried, strict=True) if 'segm' in result}
    return max(aps, key=aps.get, default=None)


def epochs_of_equal_time(e: Experiment, track: str, backbone: str, done: Mapping[Path, Mapping]) -> int | None:
    """As many epochs as fit into the time of the slowest backbone's run of equal epochs.

    None where that is no epoch more, as for the slowest itself, and for a backbone without results.
    """
    seconds, epochs = {}, {}
    for name in e.backbones:
        runs = [done.get(Run(track=track, backbone=name, kind='epochs', seed=s).folder, {}) for s in e.seeds]
        if times := [run['train_seconds'] for run in runs if 'train_seconds' in run]:
            seconds[name] = float(np.median(times))
            epochs[name] = next(run['epochs'] for run in runs if 'epochs' in run)
    if backbone not in seconds:
        return None
    more = round(epochs[backbone] * max(seconds.values()) / seconds[backbone])
    return more if more > epochs[backbone] else None


def configure(e: Experiment, run: Run, out: Path) -> Config:
    """The whole config of a run, which `tools/train.py` trains alone just as well."""
    track = e.tracks[run.track]
    cfg = read_config(str(track.pretrain if run.kind == 'pretrain' else track.config))
    common = {k: v for k, v in cfg.model.backbone.items() if k not in ('type', 'arch')}
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


def _set_classifier(cfg: Config, spec: Mapping, common: Mapping) -> None:
    """A FishNet keeps the paper's score block; any other gets the mean over the last level, as is usual for it."""
    last = level_channels(spec)[-1]
    cfg.model.backbone = ConfigDict(**{**spec, 'type': f'mmdet.{spec["type"]}'}, **common)
    if spec['type'] == 'FishNet':
        cfg.model.neck.in_channels, cfg.model.head.in_channels = last, last // 2
    else:
        cfg.model.backbone.out_indices = (3,)
        cfg.model.neck, cfg.model.head.in_channels = ConfigDict(type='GlobalAveragePooling'), last
        cfg.custom_imports.imports = [*cfg.custom_imports.imports, 'mmdet.models']


def stretch(cfg: Config, epochs: int) -> None:
    """The same schedule in shape over another number of epochs; warm-up, steps and clipping in proportion, in place."""
    factor = epochs / cfg.train_cfg.max_epochs

    def moved(epoch: int) -> int:
        return max(1, round(epoch * factor)) if epoch else 0

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
    """Annotation files of a training set in two parts: to train on and to choose by. The same two every time."""
    dataset = cfg.train_dataloader.dataset
    source = Path(dataset.get('data_root') or '', dataset.ann_file)
    try:
        whole = json.loads(source.read_text())
    except (OSError, ValueError) as error:
        raise CompareError(f'{source} cannot be read ({error}); is the data where the config says?') from error
    ids = sorted(image['id'] for image in whole['images'])
    count = round(len(ids) * e.held_out)
    if not 0 < count < len(ids):
        raise CompareError(f'{e.name}: held_out = {e.held_out} of {len(ids)} images leaves one part empty')
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
    for dataset in (cfg.val_dataloader.dataset, cfg.test_dataloader.dataset):
        dataset.ann_file, dataset.data_prefix = held_out, images
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = held_out
    cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs
