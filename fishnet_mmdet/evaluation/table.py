"""After each validation and test, a table of measured figures above published ones: on screen, as Markdown and JSON."""

import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.tables import Column, Table
from fishnet_mmdet.evaluation.class_rows import percent
from fishnet_mmdet.evaluation.known_data import parts_of

ALONE = 'this model'
"""Label of rows that belong to no epoch of a training."""


@dataclass
class Row:
    """One line of a table; `figures` are fractions of 1, or None if there is no figure."""

    label: str
    kind: str
    figures: dict[str, float | None] = field(default_factory=dict)


class TableReport(Hook):
    """Prints a table of figures and writes it to the work dir, with the published figures below the measured ones.

    After each validation, `NAME_val.md` and `NAME_val.json` hold the figures of all validations so far: a resumed run
    keeps those up to its checkpoint, a new run starts a new table. A test writes `NAME_test.md` and `NAME_test.json`.
    Where an evaluator gives figures of several data sets or models, each has rows of its own, named by their prefix. A
    runner without a config has no published rows.

    Args:
        published: Whether the published rows are shown. Default: where the evaluated data are those that the published
            figures were measured on, or a part of a concatenated data set is.

    Attributes:
        name: First part of the file names.
        title: Title of the table.
        columns: Names of the figures.
        decimals: Decimals of percentages, as many as in the published ones.
        data: Name of the data set of the published figures; empty if there are none.
    """

    name: str
    title: str
    columns: Sequence[str]
    decimals: int
    data: str = ''

    def __init__(self, published: bool | None = None) -> None:
        self.show_published = published
        self._history: list[dict] = []
        self._trains = False
        self._is_new = False
        self._on_published_data: dict[str, bool] = {}

    @abstractmethod
    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Makes rows of an evaluator's output; keys of other metrics are ignored."""

    def published(self, model: Mapping) -> list[Row]:
        """Returns the published rows for a model, given its config; by default none."""
        return []

    def is_published_data(self, data: object) -> bool:
        """Returns whether a data set is the one of the published figures; by default there is none."""
        return False

    def before_train(self, runner: Runner) -> None:
        """Reads the rows of the validations before the checkpoint of a resumed run.

        A run from the beginning keeps the table of an earlier run in its work dir as `NAME_val_earlier`, once it has
        something of its own: if it is then resumed before it has validated, rows of the earlier run are not its own.
        """
        self._trains = True
        unit, done = _progress(runner)
        self._is_new = not done
        before = {f'{unit} {count}' for count in range(1, done + 1)}
        entries = _read_history(Path(runner.work_dir) / f'{self.name}_val.json')
        self._history = [entry for entry in entries if entry['label'] in before]

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keeps the table of an earlier run aside: from now on this run can be resumed."""
        self._set_aside(Path(runner.work_dir))

    @master_only
    def _set_aside(self, work_dir: Path) -> None:
        if not self._is_new:
            return
        self._is_new = False
        for ending in ('json', 'md'):
            table = work_dir / f'{self.name}_val.{ending}'
            if table.is_file():
                table.replace(work_dir / f'{self.name}_val_earlier.{ending}')

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Reports a validation. One without a training is added to the table of the work dir."""
        if self._trains:
            label = ' '.join(map(str, _progress(runner)))
            self._set_aside(Path(runner.work_dir))
        else:
            # `runner.iter` would build the training loop.
            label, self._history = ALONE, _read_history(Path(runner.work_dir) / f'{self.name}_val.json')
        self._history = self._report(runner, metrics or {}, 'val', label, self._history)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Reports a test."""
        self._report(runner, metrics or {}, 'test', ALONE, [])

    def _report(
        self, runner: Runner, metrics: Mapping[str, float], split: str, label: str, history: list[dict]
    ) -> list[dict]:
        """Adds a measurement to earlier ones, prints and writes all of them, and returns them.

        It replaces one with the same label: a resumed run repeats a validation that may have been finished.
        """
        rows = self.measured(metrics, label)
        history = [entry for entry in history if entry['label'] != label] + [_entry(row) for row in rows]
        if rows:
            self._publish(runner, split, rows, history)
        return history

    @master_only
    def _publish(self, runner: Runner, split: str, rows: list[Row], history: list[dict]) -> None:
        title = f'{self.title}, {runner.experiment_name}'
        # A runner made of objects has no config.
        model = getattr(runner.cfg, 'model', None)
        compares = self._compares(runner, split)
        # Test-time augmentation wraps the model.
        published = self.published(model.get('module', model)) if compares and isinstance(model, Mapping) else []
        runner.logger.info('\n' + self.table(title, rows, published).text())

        stem = Path(runner.work_dir) / f'{self.name}_{split}'
        own = [Row(e['label'], e['type'], {c: e.get(c) for c in self.columns}) for e in history]
        record = {
            'title': title,
            'data': (self.data or None) if compares else None,
            'measured': history,
            'published': [_entry(row) for row in published],
        }
        write_atomically(stem.with_suffix('.json'), (json.dumps(record, indent=1) + '\n').encode())
        write_atomically(stem.with_suffix('.md'), self.table(title, own, published).markdown().encode())

    def table(self, title: str, own: Sequence[Row], published: Sequence[Row]) -> Table:
        """The measured rows above the published ones, in percent."""
        columns = [Column(''), Column('type'), *(Column(name, f'.{self.decimals}f') for name in self.columns)]
        rows = [(row.label, row.kind, *map(percent, map(row.figures.get, self.columns))) for row in (*own, *published)]
        return Table(name=self.name, title=title, columns=columns, rows=rows, sections=[len(own)])

    def _compares(self, runner: Runner, split: str) -> bool:
        """Whether the figures of a split compare with published ones."""
        if self.show_published is not None:
            return self.show_published
        if split not in self._on_published_data:
            data = getattr(getattr(runner, f'{split}_dataloader', None), 'dataset', None)
            self._on_published_data[split] = any(map(self.is_published_data, parts_of(data)))
        return self._on_published_data[split]


def by_evaluator(
    metrics: Mapping[str, float], pattern: re.Pattern, default: str = ''
) -> dict[str, list[tuple[re.Match, float]]]:
    """Groups the output of evaluators by the prefixes of its keys.

    mmdet's MultiDatasetsEvaluator and TeacherStudentValLoop, and `prefix` of a metric, put names before keys, such as
    `teacher/coco/bbox_mAP`.

    Args:
        metrics: Figures by key.
        pattern: Matches the last part of the wanted keys; others are left out.
        default: The usual prefix of the metric, which is not part of a name.

    Returns:
        Matches and their figures, by the name of what was evaluated: '' where no other prefix than the usual one is.
    """
    groups: dict[str, list[tuple[re.Match, float]]] = {}
    for key, value in metrics.items():
        prefix, _, last = key.rpartition('/')
        if match := pattern.fullmatch(last):
            groups.setdefault(prefix, []).append((match, float(value)))
    names = evaluator_names(groups, default)
    return {names[prefix]: figures for prefix, figures in groups.items()}


def evaluator_names(prefixes: Iterable[str], default: str) -> dict[str, str]:
    """Names what was evaluated by the prefixes of its keys, without the usual prefix of the metric if they differ."""
    names = {prefix: '/'.join(part for part in prefix.split('/') if part != default) for prefix in prefixes}
    return names if len({*names.values()}) == len(names) else {prefix: prefix for prefix in names}


def kind_of(*parts: str) -> str:
    """The kind of a row, of what it measures and the name of what was evaluated; empty parts are left out."""
    return ', '.join(filter(None, parts))


def _entry(row: Row) -> dict:
    return {'label': row.label, 'type': row.kind, **row.figures}


def _progress(runner: Runner) -> tuple[str, int]:
    """How far training is; in a loop that counts iterations, the epoch stays 0."""
    return ('iteration', runner.iter) if runner.epoch == 0 and runner.iter else ('epoch', runner.epoch)


def _read_history(path: Path) -> list[dict]:
    """Rows of earlier validations; none if a crash truncated the file, which must not stop a run."""
    try:
        entries = json.loads(path.read_text(encoding='utf-8'))['measured']
        return [entry for entry in entries if entry['label'].startswith(('epoch ', 'iteration '))]
    except (OSError, ValueError, KeyError, TypeError):
        return []
