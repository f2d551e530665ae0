"""A finding, the report that holds all findings of a preflight, and the one place where errors become an exception."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.text import printable
from fishnet_mmdet.data.json_files import brief
from fishnet_mmdet.preflight.kinds import KINDS

NOTHING_TO_READ = ('data-missing', 'file-broken', 'no-images', 'weights')
"""Kinds of errors that no run can start with; a report does not suggest to ignore them."""


class PreflightError(UserError, RuntimeError):
    """Something that a run needs is missing or does not fit; the message names it and the fix."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: A key of `KINDS`.
        where: The split or splits it belongs to.
        file: The file or folder it is in.
        detail: What exactly was found, in words.
        image: Id of the image, if it is about one.
        annotation: Id of the annotation, if it is about one.
        entry: The annotation file, the name of the list in it ('segments' in panoptic files), and the index in that
            list of the entry, if it is about one.
        fix: What to do about it, if that differs from the fix of its kind.
    """

    kind: str
    where: str
    file: str
    detail: str
    image: int | str | None = None
    annotation: int | float | str | None = None
    entry: tuple[str, str, int] | None = None
    fix: str | None = None

    @property
    def can_be_skipped(self) -> bool:
        """Whether `--skip-bad` solves it: it is in an image or annotation of the training data."""
        kind = KINDS[self.kind]
        in_list = self.entry is not None and self.entry[1] in ('images', 'annotations')
        return in_list and self.where == 'train' and (kind.drops or kind.renumbers)

    def __str__(self) -> str:
        names = (('annotation', self.annotation), ('image', self.image))
        about = ' of '.join(f'{name} {brief(value)}' for name, value in names if value is not None)
        text = f'{about}: {self.detail}' if about else self.detail
        return printable(text)


@dataclass(frozen=True, slots=True)
class Source:
    """An annotation file and the splits that read it: what all findings in that file share.

    Attributes:
        where: The splits.
        path: The file.
    """

    where: str
    path: Path

    def finding(self, kind: str, detail: str, image: int | str | None = None) -> Finding:
        """A finding about the file as a whole, or about an image in it."""
        return Finding(kind, self.where, str(self.path), detail, image)

    def of_entry(
        self,
        kind: str,
        detail: str,
        place: tuple[str, int],
        image: int | str | None = None,
        annotation: int | float | str | None = None,
    ) -> Finding:
        """A finding about an entry of the file.

        Args:
            kind: A key of `KINDS`.
            detail: What exactly was found.
            place: Name of the list, and index in it.
            image: Id of the image.
            annotation: Id of the annotation.
        """
        return Finding(kind, self.where, str(self.path), detail, image, annotation, (str(self.path), *place))


@dataclass
class Report:
    """All that a preflight found.

    Attributes:
        findings: In the order in which they were found.
        checked: One line for each data set that was checked.
        classes: Number of annotations by split and class name.
        ignored: Kinds of errors that count as warnings: `preflight=dict(ignore=[...])` of the config.
    """

    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ignored: Collection[str] = ()

    @property
    def errors(self) -> list[Finding]:
        """The findings that stop a run."""
        return [finding for finding in self.findings if self.stops(finding.kind)]

    def stops(self, kind: str) -> bool:
        """Whether findings of a kind stop a run."""
        return KINDS[kind].stops and kind not in self.ignored

    @property
    def counts(self) -> Counter:
        """Number of findings by kind."""
        return Counter(finding.kind for finding in self.findings)

    def text(self, shown: int = 5) -> str:
        """The report for a screen or a log: errors first, grouped by kind and file, each group with the fix.

        Args:
            shown: How many findings of a group are printed; the others are counted.
        """
        errors = len(self.errors)
        lines = [
            *self.checked,
            f'preflight: {_count(errors, "error")}, {_count(len(self.findings) - errors, "warning")}',
        ]
        groups: dict[tuple, list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault((finding.kind, finding.where, finding.file, finding.fix), []).append(finding)
        for (name, where, file, fix), group in sorted(groups.items(), key=lambda item: not self.stops(item[0][0])):
            kind = KINDS[name]
            head = f'{"error" if self.stops(name) else "warning"} [{name}] {where}: {kind.what}'
            lines += ['', f'{head} ({len(group)}, {file})' if file else head]
            lines += [f'  {finding}' for finding in group[:shown]]
            lines += [f'  ... and {len(group) - shown} more'] * (len(group) > shown)
            lines += [f'  fix: {fix or kind.fix}'] * bool(fix or kind.fix)
        return '\n'.join(lines + self._ways_on())

    def _ways_on(self) -> list[str]:
        """How to start in spite of the errors: without the bad entries, or with all of them."""
        kinds = list(dict.fromkeys(finding.kind for finding in self.errors))
        if not kinds or not set(kinds).isdisjoint(NOTHING_TO_READ):
            return []
        skip = 'To train without the bad entries: fishnet-mmdet train CONFIG --skip-bad'
        ignored = f'--cfg-options "preflight.ignore=[{",".join(kinds)}]"'
        use = f'To train in spite of the errors, which become warnings: fishnet-mmdet train CONFIG {ignored}'
        return ['', *[skip] * self.can_skip, use]

    def as_json(self) -> dict:
        """The whole report as dicts, lists, texts and numbers."""
        rows = [
            {'stops': self.stops(f.kind), **{k: v for k, v in asdict(f).items() if v is not None}}
            for f in self.findings
        ]
        return {
            'checked': self.checked,
            'classes': self.classes,
            'counts': dict(self.counts),
            'findings': rows,
        }

    @property
    def can_skip(self) -> bool:
        """Whether there are errors, and `--skip-bad` solves all of them."""
        return bool(self.errors) and all(finding.can_be_skipped for finding in self.errors)

    def train_command(self, config: Path) -> str:
        """The command that trains with a config: without bad entries, if there are no other errors."""
        return f'fishnet-mmdet train {config}{" --skip-bad" * self.can_skip}'

    def raise_errors(self) -> None:
        """Stops if there are errors.

        Raises:
            PreflightError: The message says how many, then comes the report.
        """
        if self.errors:
            raise PreflightError(f'the checks before the run found {_count(len(self.errors), "error")}:\n{self.text()}')


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'
