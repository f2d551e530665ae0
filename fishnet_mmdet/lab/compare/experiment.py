"""What is compared, as data: read from a file such as `configs/experiments/nuclei.py`, and checked before anything runs."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from fishnet_mmdet.errors import UserError
from fishnet_mmdet.lab.paper.counting import Counts, count

FIELDS = {
    'backbones', 'baseline', 'rounds', 'seeds', 'tracks', 'rate_epochs', 'held_out', 'side', 'pictures',
}  # fmt: skip
TRACK_FIELDS = {'config', 'rates', 'pretrain'}


class CompareError(UserError, ValueError):
    """An experiment that cannot be run, or a folder that is not its own; the message says which, and the fix."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """One way to train every backbone.

    Attributes:
        config: Of the detector. What its backbone says besides `type` and `arch` (norms, what is fixed, where weights
            come from) holds for every backbone.
        rates: Learning rates to choose from.
        pretrain: Config of the classifier by which each backbone is pretrained first; None: from random weights.
    """

    config: Path
    rates: tuple[float, ...]
    pretrain: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Backbones, tracks and seeds.

    Attributes:
        name: Of its file.
        backbones: By name, how each is built; everything else about it is the track's.
        baseline: The one that differences are against.
        rounds: Groups of backbones; one goes through every track before the next one begins.
        seeds: Of the runs that count.
        tracks: By name.
        rate_epochs: Epochs of the runs that choose a learning rate.
        held_out: Share of the training images on which it is chosen.
        side: Of the square image for which multiply-adds are counted.
        pictures: How many validation images are drawn by each network.
    """

    name: str
    backbones: Mapping[str, Mapping]
    baseline: str
    rounds: tuple[tuple[str, ...], ...]
    seeds: tuple[int, ...]
    tracks: Mapping[str, Track]
    rate_epochs: int
    held_out: float
    side: int
    pictures: int

    def only(
        self, backbones: Sequence[str] = (), tracks: Sequence[str] = (), seeds: Sequence[int] = ()
    ) -> 'Experiment':
        """A part of it; nothing named is everything.

        Raises:
            CompareError: A name that it has not.
        """
        for flag, asked, there in (
            ('--backbones', backbones, self.backbones),
            ('--tracks', tracks, self.tracks),
        ):
            if unknown := [name for name in asked if name not in there]:
                raise CompareError(f'{flag} {unknown[0]}: {self.name} has {", ".join(there)}')
        kept = [tuple(b for b in group if b in (backbones or self.backbones)) for group in self.rounds]
        return Experiment(
            **{
                **vars(self),
                'rounds': tuple(group for group in kept if group),
                'tracks': {name: track for name, track in self.tracks.items() if name in (tracks or self.tracks)},
                'seeds': tuple(seeds) or self.seeds,
            }
        )


def read_experiment(path: Path) -> Experiment:
    """Reads an experiment's file.

    Raises:
        CompareError: No such file, a field that is missing or unknown, or one with a value that cannot be run.
    """
    if not path.is_file():
        raise CompareError(f'experiment not found: {path.resolve()}')
    said = Config.fromfile(path).to_dict()
    _check_names(path.name, said, FIELDS, FIELDS)
    tracks = {}
    for name, track in said['tracks'].items():
        _check_names(f'{path.name}: tracks.{name}', track, TRACK_FIELDS, {'config', 'rates'})
        files = {key: (path.parent / track[key]).resolve() for key in ('config', 'pretrain') if track.get(key)}
        for key, file in files.items():
            if not file.is_file():
                raise CompareError(f'{path.name}: tracks.{name}.{key} = {track[key]!r}: there is no {file}')
        rates = tuple(track['rates'])
        if not rates or not all(isinstance(rate, int | float) and rate > 0 for rate in rates):
            raise CompareError(f'{path.name}: tracks.{name}.rates = {track["rates"]!r} must be numbers above 0')
        tracks[name] = Track(rates=rates, **files)
    experiment = Experiment(
        name=path.stem,
        **{
            **said,
            'rounds': tuple(map(tuple, said['rounds'])),
            'seeds': tuple(said['seeds']),
            'tracks': tracks,
        },
    )
    _check(experiment)
    return experiment


def _check_names(what: str, said: Mapping, known: set[str], needed: set[str]) -> None:
    if unknown := sorted(set(said) - known):
        raise CompareError(f'{what}: unknown field {unknown[0]!r}; one of {", ".join(sorted(known))}')
    if missing := sorted(needed - set(said)):
        raise CompareError(f'{what}: field {missing[0]!r} is missing')


def _check(e: Experiment) -> None:
    in_rounds = [name for group in e.rounds for name in group]
    if sorted(in_rounds) != sorted(e.backbones):
        raise CompareError(
            f'{e.name}: rounds = {[list(group) for group in e.rounds]} must name each of the backbones '
            f'({", ".join(e.backbones)}) once'
        )
    if e.baseline not in e.backbones:
        raise CompareError(f'{e.name}: baseline = {e.baseline!r} must be one of {", ".join(e.backbones)}')
    if not e.seeds or not all(type(seed) is int and seed >= 0 for seed in e.seeds):
        raise CompareError(f'{e.name}: seeds = {list(e.seeds)} must be integers of at least 0')
    if type(e.rate_epochs) is not int or e.rate_epochs < 1:
        raise CompareError(f'{e.name}: rate_epochs = {e.rate_epochs!r} must be an integer of at least 1')
    if not 0 < e.held_out < 1:
        raise CompareError(f'{e.name}: held_out = {e.held_out!r} must be between 0 and 1')


def built(spec: Mapping) -> torch.nn.Module:
    """A backbone of mmdet's registry, or ours, on the meta device, in eval mode."""
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmdet'):
        network = MODELS.build(copy.deepcopy(dict(spec)))
    network.eval()  # mmdet's ResNet returns nothing here
    return network


def level_channels(spec: Mapping) -> list[int]:
    """Channels of the levels that a backbone hands to a neck, seen on a forward pass."""
    network = built(spec)
    with torch.no_grad():
        return [level.shape[1] for level in network(torch.zeros(1, 3, 64, 64, device='meta'))]


def counts(spec: Mapping, side: int) -> Counts:
    """Parameters and multiply-adds of a backbone."""
    return count(built(spec), side)
