"""After each validation and test, a table of measured figures above published ones: on screen, as Markdown and JSON."""

import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table


@dataclass
class Row:
    """One line of a table; `figures` are fractions of 1, or None if there is no figure."""

    label: str
    kind: str
    figures: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a table looks.

    Attributes:
        columns: Names of the figures.
        decimals: Decimals of percentages, as many as in the published ones.
    """

    columns: Sequence[str]
    decimals: int

    def cells(self, row: Row) -> list[str]:
        """The cells of a row, in percent."""
        values = (row.figures.get(column) for column in self.columns)
        return [row.label, row.kind, *('-' if v is None else f'{100 * v:.{self.decimals}f}' for v in values)]

    def on_screen(self, own: Iterable[Row], published: Iterable[Row], title: str) -> str:
        """The table as text, with a line above the published rows."""
        table = Table('', 'type', title=title, title_justify='left')
        for column in self.columns:
            table.add_column(column, justify='right')
        for row in own:
            table.add_row(*self.cells(row))
        table.add_section()
        for row in published:
            table.add_row(*self.cells(row))
        console = Console(width=120, color_system=None)
        with console.capture() as capture:
            console.print(table)
        return capture.get()

    def markdown(self, rows: Iterable[Row], title: str) -> str:
        """The table as Markdown."""
        head = ['', 'type', *self.columns]
        align = ['---', '---', *('---:' for _ in self.columns)]
        lines = [f'# {title}', '', *(f'| {" | ".join(cells)} |' for cells in (head, align))]
        lines += (f'| {" | ".join(self.cells(row))} |' for row in rows)
        return '\n'.join(lines) + '\n'


class TableReport(Hook):
    """Prints a table of figures and writes it to the work dir, with the published figures below the measured ones.

    After each validation, `NAME_val.md` and `NAME_val.json` hold the figures of all validations so far: a resumed run
    keeps those up to its checkpoint, a new run starts a new table. A test writes `NAME_test.md` and `NAME_test.json`.

    Attributes:
        name: First part of the file names.
        title: Title of the table.
        style: Style of the table.
    """

    name: str
    title: str
    style: Style

    def __init__(self) -> None:
        self._history: list[dict] = []

    @abstractmethod
    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Makes rows of an evaluator's output; keys of other metrics are ignored."""

    @abstractmethod
    def published(self, model: Mapping) -> list[Row]:
        """Returns the published rows for a model, given its config."""

    def before_train(self, runner: Runner) -> None:
        """Reads the rows of the validations before the checkpoint of a resumed run."""
        entries = _read_history(Path(runner.work_dir) / f'{self.name}_val.json')
        _, done = _progress(runner)
        self._history = [entry for entry in entries if int(entry['label'].split()[-1]) <= done]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Reports a validation."""
        unit, count = _progress(runner)
        self._history = self._report(runner, metrics or {}, 'val', f'{unit} {count}', self._history)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Reports a test."""
        self._report(runner, metrics or {}, 'test', 'this model', [])

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
        model = runner.cfg.model
        # Test-time augmentation wraps the model.
        published = self.published(model.get('module', model))
        runner.logger.info('\n' + self.style.on_screen(rows, published, title))

        stem = Path(runner.work_dir) / f'{self.name}_{split}'
        own = [Row(e['label'], e['type'], {c: e.get(c) for c in self.style.columns}) for e in history]
        record = {'title': title, 'measured': history, 'published': [_entry(row) for row in published]}
        stem.with_suffix('.json').write_text(json.dumps(record, indent=1) + '\n')
        stem.with_suffix('.md').write_text(self.style.markdown([*own, *published], title))


def _entry(row: Row) -> dict:
    return {'label': row.label, 'type': row.kind, **row.figures}


def _progress(runner: Runner) -> tuple[str, int]:
    """How far training is; in a loop that counts iterations, the epoch stays 0."""
    return ('iteration', runner.iter) if runner.epoch == 0 and runner.iter else ('epoch', runner.epoch)


def _read_history(path: Path) -> list[dict]:
    """Rows of earlier validations; none if a crash truncated the file, which must not stop a run."""
    try:
        entries = json.loads(path.read_text())['measured']
        return [entry for entry in entries if entry['label'].startswith(('epoch ', 'iteration '))]
    except (OSError, ValueError, KeyError, TypeError):
        return []
