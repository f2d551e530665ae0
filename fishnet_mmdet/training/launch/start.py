"""Settles where a run starts: from the beginning, from weights, or from a checkpoint that it resumes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.checkpoints.reader import SCHEME as RUN_SCHEME
from fishnet_mmdet.training.checkpoints.reader import RunCheckpoint, hand_over, read
from fishnet_mmdet.training.checkpoints.resume import POINTER, Survey, folder_of
from fishnet_mmdet.training.distributed import is_rank_zero
from fishnet_mmdet.weights.load import WEB, for_mmengine, locate


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes:
        load_from: The address that MMEngine loads; None to start from the initial weights of the model.
        resume: Whether the run resumes, rather than only loading weights.
        weights: On a resume from a local file, the shapes of its weights by key. None: not known before loading.
        survey: The checkpoints of the run's folder, if they were looked at.
    """

    load_from: str | None
    resume: bool
    weights: Mapping[str, torch.Size] | None = None
    survey: Survey | None = None

    def apply_to(self, cfg: Config) -> None:
        """Writes it into a config, in MMEngine's terms."""
        cfg.load_from, cfg.resume = self.load_from, self.resume


def choose_start(cfg: Config, resume: str | None) -> Start:
    """Chooses the file that the run starts from, if any; this package's readers load it and execute nothing in it.

    A checkpoint to resume from is read here, once, and handed over to MMEngine. Every rank chooses for itself, and all
    come to the same result: there is no process group yet.

    Args:
        cfg: The config; its `resume` and `load_from` count as in MMEngine.
        resume: A checkpoint, or 'auto' for the newest one of the run that can be read; None to go by the config.

    Raises:
        CheckpointError: The run has checkpoints, and none can be read.
        ConfigError: There is no such file.
        WeightsError: A checkpoint that was named cannot be downloaded or resumed.
    """
    weights = cfg.get('load_from')
    if weights and weights.startswith(RUN_SCHEME):
        # The config was written by a resumed run.
        weights = None
    if resume is None and cfg.get('resume'):
        resume = weights or 'auto'
    if resume is None:
        return _from_weights(weights)
    if resume == 'auto':
        return _from_newest(cfg, weights)
    if resume.startswith(WEB):
        return _from_checkpoint(read(locate(resume)))
    if '://' in resume:
        return Start(resume, resume=True)
    check_file(resume)
    return _from_checkpoint(read(resume))


def _from_newest(cfg: Config, weights: str | None) -> Start:
    report = print if is_rank_zero() else (lambda line: None)
    out_dir = checkpoint_out_dir(cfg)
    if '://' in (out_dir or ''):
        raise ConfigError(f'--resume does not look into {out_dir}: name the checkpoint, as --resume ADDRESS')
    survey = Survey.of(folder_of(cfg.work_dir, out_dir), Path(cfg.work_dir) / POINTER)
    found = survey.newest(warn=report)
    if found is None:
        origin = weights or 'the beginning'
        report(f'Nothing to resume in {survey.folder}: the training starts from {origin}')
        return _from_weights(weights)
    report(f'Resuming from {found.path}')
    return _from_checkpoint(found, survey)


def _from_checkpoint(found: RunCheckpoint, survey: Survey | None = None) -> Start:
    hand_over(found)
    shapes = {key: getattr(value, 'shape', None) for key, value in found.content['state_dict'].items()}
    return Start(f'{RUN_SCHEME}{found.path}', resume=True, weights=shapes, survey=survey)


def _from_weights(weights: str | None) -> Start:
    if not weights:
        return Start(None, resume=False)
    check_file(weights)
    return Start(for_mmengine(weights), resume=False)


def checkpoint_out_dir(cfg: Config) -> str | None:
    """Returns the folder that the config gives MMEngine's checkpoint hook; None stands for the work dir."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    return hook.get('out_dir')


def check_file(path: str) -> None:
    """Checks that a checkpoint exists, unless it is an address.

    Raises:
        ConfigError: There is no such file.
    """
    if '://' not in path and not Path(path).is_file():
        raise ConfigError(f'checkpoint not found: {Path(path).resolve()}')
