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
    """One line of a table; `figures` are fractions of 1, None where there is none."""

    label: str
    kind: str
    figures: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Style:
    """What a table looks like.

    Attributes:
        columns: Names of the figures.
        decimals: Of the percentages: as many as the published ones have.
    """

    columns: Sequence[str]
    decimals: int

    def cells(self, row: Row) -> list[str]:
        """A row in percent."""
        values = (row.figures.get(column) for column in self.columns)
        return [row.label, row.kind, *('-' if v is None else f'{100 * v:.{self.decimals}f}' for v in values)]

    def on_screen(self, own: Iterable[Row], published: Iterable[Row], title: str) -> str:
        """The table as text, the published rows under a line of their own."""
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
    """Prints a table of figures and keeps it in the work dir.

    After each validation `NAME_val.md` and `NAME_val.json` hold all so far (a resumed run goes on with those it
    stands on, a new one begins anew); a test writes `NAME_test.md` and `NAME_test.json`. Under the own rows stand the
    published ones.

    Attributes:
        name: Begins the files' names.
        title: Of the table.
        style: Of the table.
    """

    name: str
    title: str
    style: Style

    def __init__(self) -> None:
        self._history: list[dict] = []

    @abstractmethod
    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Rows from an evaluator's output; keys of other metrics are passed over."""

    @abstractmethod
    def published(self, model: Mapping) -> list[Row]:
        """Published rows that belong beside a model's, from its config."""

    def before_train(self, runner: Runner) -> None:
        """Takes up the rows of the validations that a resumed run has behind it."""
        entries = _read_history(Path(runner.work_dir) / f'{self.name}_val.json')
        _, done = _progress(runner)
        self._history = [entry for entry in entries if int(entry['label'].split()[-1]) <= done]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Reports a validation of a training."""
        unit, count = _progress(runner)
        self._history = self._report(runner, metrics or {}, 'val', f'{unit} {count}', self._history)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Reports a test."""
        self._report(runner, metrics or {}, 'test', 'this model', [])

    def _report(
        self, runner: Runner, metrics: Mapping[str, float], split: str, label: str, history: list[dict]
    ) -> list[dict]:
        """Adds a measurement to those before it, shows and writes all of them, and returns them.

        It takes the place of one with the same label: a resumed run makes up for a validation that may have been over.
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
        published = self.published(model.get('module', model))  # test-time augmentation wraps the model
        runner.logger.info('\n' + self.style.on_screen(rows, published, title))

        stem = Path(runner.work_dir) / f'{self.name}_{split}'
        own = [Row(e['label'], e['type'], {c: e.get(c) for c in self.style.columns}) for e in history]
        record = {'title': title, 'measured': history, 'published': [_entry(row) for row in published]}
        stem.with_suffix('.json').write_text(json.dumps(record, indent=1) + '\n')
        stem.with_suffix('.md').write_text(self.style.markdown([*own, *published], title))


def _entry(row: Row) -> dict:
    return {'label': row.label, 'type': row.kind, **row.figures}


def _progress(runner: Runner) -> tuple[str, int]:
    """How far a training is; a loop that counts iterations leaves the epoch at 0."""
    return ('iteration', runner.iter) if runner.epoch == 0 and runner.iter else ('epoch', runner.epoch)


def _read_history(path: Path) -> list[dict]:
    """Rows of earlier validations; a file cut short by a crash is started anew rather than stopping a run."""
    try:
        entries = json.loads(path.read_text())['measured']
        return [entry for entry in entries if entry['label'].startswith(('epoch ', 'iteration '))]
    except (OSError, ValueError, KeyError, TypeError):
        return []
