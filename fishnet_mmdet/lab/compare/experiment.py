"""What is compared, as data: read from a file such as `configs/experiments/nuclei.py`, and checked before any run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmengine.config import Config

from fishnet_mmdet.base.config_files import find_config
from fishnet_mmdet.base.errors import UserError

FIELDS = {
    'backbones', 'baseline', 'rounds', 'seeds', 'tracks', 'rate_epochs', 'held_out', 'side', 'pictures',
}  # fmt: skip
TRACK_FIELDS = {'config', 'options', 'rates', 'pretrain'}
OWN_SETTINGS = (
    'model.backbone.type', 'model.backbone.arch', 'model.neck.in_channels', 'optim_wrapper.optimizer.lr', 'randomness',
    'work_dir',
)  # fmt: skip
"""Settings that a comparison makes itself: no option of a track can."""


class CompareError(UserError, ValueError):
    """An experiment that cannot be run, or a folder of another experiment; the message names it and the fix."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """One way to train every backbone.

    Attributes:
        config: Config of the detector. The settings of its backbone other than `type` and `arch` (norms, frozen parts,
            where weights come from) apply to every backbone.
        rates: Learning rates to choose from.
        pretrain: Config of the classifier that pretrains each backbone; None to start from random weights.
        options: Settings that override the config of the detector, by dotted key. They do not apply to `pretrain`.
    """

    config: Path
    rates: tuple[float, ...]
    pretrain: Path | None = None
    options: Mapping = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Backbones, tracks and seeds.

    Attributes:
        name: Name of its file.
        backbones: By name, the config of each backbone; all other settings come from the track.
        baseline: Name of the backbone that differences are against.
        rounds: Groups of backbones. A group goes through every track before the next group begins.
        seeds: Seeds of the runs that count.
        tracks: By name.
        rate_epochs: Epochs of the runs that choose a learning rate.
        held_out: Fraction of the training images on which the learning rate is chosen.
        side: Side in pixels of the square image for which multiply-adds are counted.
        pictures: Number of validation images that are drawn with each network's detections.
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
        """A part of the experiment.

        Args:
            backbones: Names of the backbones to run; empty for all.
            tracks: Names of the tracks to run; empty for all.
            seeds: Seeds in place of the experiment's; empty for its own.

        Raises:
            CompareError: A name that the experiment does not have, or a seed that is none.
        """
        for flag, names, known in (('--backbones', backbones, self.backbones), ('--tracks', tracks, self.tracks)):
            if unknown := [name for name in names if name not in known]:
                raise CompareError(f'{flag} {unknown[0]}: {self.name} has {", ".join(known)}')
        if seeds:
            _check_seeds('--seeds', seeds)
        kept = [tuple(b for b in group if b in (backbones or self.backbones)) for group in self.rounds]
        return replace(
            self,
            rounds=tuple(group for group in kept if group),
            tracks={name: track for name, track in self.tracks.items() if name in (tracks or self.tracks)},
            seeds=tuple(seeds) or self.seeds,
        )


def read_experiment(path: Path) -> Experiment:
    """Reads the file of an experiment. A variable whose name begins with `_` is the file's own.

    Raises:
        ConfigError: There is no such file.
        CompareError: A missing or unknown field, or a value that cannot be run.
    """
    path = find_config(path)
    try:
        values = {name: v for name, v in Config.fromfile(path).to_dict().items() if not name.startswith('_')}
    # Any code may stand in the file.
    except Exception as error:
        raise CompareError(f'{path} cannot be read: {type(error).__name__}: {error}') from error
    _check_names(path.name, values, FIELDS, FIELDS)
    _check_kinds(path.name, values)
    experiment = Experiment(
        name=path.stem,
        **{
            **values,
            'rounds': tuple(map(tuple, values['rounds'])),
            'seeds': tuple(values['seeds']),
            'tracks': {name: _read_track(path, name, track) for name, track in values['tracks'].items()},
        },
    )
    _check(experiment)
    return experiment


def _read_track(path: Path, name: str, values: Mapping) -> Track:
    where = f'{path.name}: tracks.{name}'
    _check_names(where, values, TRACK_FIELDS, {'config', 'rates'})
    files = {key: (path.parent / values[key]).resolve() for key in ('config', 'pretrain') if values.get(key)}
    for key, file in files.items():
        if not file.is_file():
            raise CompareError(f'{where}.{key} = {values[key]!r}: there is no {file}')
    rates = tuple(values['rates']) if isinstance(values['rates'], list | tuple) else ()
    if not rates or not all(isinstance(rate, int | float) and rate > 0 for rate in rates):
        raise CompareError(f'{where}.rates = {values["rates"]!r} must be one or several numbers above 0, in a list')
    options = values.get('options', {})
    if not isinstance(options, Mapping):
        raise CompareError(f'{where}.options = {options!r} must be a dict of settings by dotted key')
    if own := [key for key in options if f'{key}.'.startswith(tuple(f'{name}.' for name in OWN_SETTINGS))]:
        raise CompareError(f'{where}.options sets {own[0]}, which the comparison sets: remove it')
    return Track(rates=rates, options=options, **files)


def _check_names(where: str, values: Mapping, known: set[str], needed: set[str]) -> None:
    if unknown := sorted(set(values) - known):
        raise CompareError(f'{where}: unknown field {unknown[0]!r}; one of {", ".join(sorted(known))}')
    if missing := sorted(needed - set(values)):
        raise CompareError(f'{where}: field {missing[0]!r} is missing')


def _check_kinds(name: str, values: Mapping) -> None:
    for fields, kind, text in (
        (('backbones', 'tracks'), Mapping, 'a dict'),
        (('rounds', 'seeds'), list | tuple, 'a list'),
        (('held_out',), int | float, 'a number'),
    ):
        for key in fields:
            if not isinstance(values[key], kind):
                raise CompareError(f'{name}: {key} = {values[key]!r} must be {text}')


def _check_seeds(where: str, seeds: Sequence[int]) -> None:
    if not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise CompareError(f'{where} {list(seeds)} must be integers of at least 0')


def _check(e: Experiment) -> None:
    in_rounds = [name for group in e.rounds for name in group]
    if sorted(in_rounds) != sorted(e.backbones):
        raise CompareError(
            f'{e.name}: rounds = {[list(group) for group in e.rounds]} must name each of the backbones '
            f'({", ".join(e.backbones)}) once'
        )
    if e.baseline not in e.backbones:
        raise CompareError(f'{e.name}: baseline = {e.baseline!r} must be one of {", ".join(e.backbones)}')
    _check_seeds(f'{e.name}: seeds =', e.seeds)
    if type(e.rate_epochs) is not int or e.rate_epochs < 1:
        raise CompareError(f'{e.name}: rate_epochs = {e.rate_epochs!r} must be an integer of at least 1')
    if not 0 < e.held_out < 1:
        raise CompareError(f'{e.name}: held_out = {e.held_out!r} must be between 0 and 1')
