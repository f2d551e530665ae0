"""Runs every check on its own, so that a broken package does not hide the next problem, and prints one screen."""

import contextlib
import io
from collections.abc import Iterator

from fishnet_mmdet.doctor.checks import CHECKS
from fishnet_mmdet.doctor.diagnosis import Diagnosis
from fishnet_mmdet.doctor.packages import FRAMEWORKS, FRESH, fixes


def main() -> int:
    """Prints every diagnosis and whether a training can run; returns the exit status."""
    results = []
    for result in examine():
        results.append(result)
        print(f'{result.state:>5}  {result.name:<22} {result.text}')
        if result.fix:
            print(f'{"":>5}  {"":<22} fix: {result.fix}')
    failed = any(result.state == 'FAIL' for result in results)
    print(f'\n{"not ready to train" if failed else _trainable(results)}')
    return int(failed)


def examine() -> Iterator[Diagnosis]:
    """Runs every check on its own."""
    for name, check in CHECKS.items():
        try:
            # Packages may print when they are imported, as OneDL's do.
            with contextlib.redirect_stdout(io.StringIO()):
                result = check(name)
            yield result
        # A broken installation can fail with any error.
        except Exception as error:
            lines = str(error).strip().splitlines() or ['']
            text = f'{type(error).__name__}: {lines[0][:150]}'
            yield Diagnosis(name, 'FAIL', text, fixes().get(name, FRESH))


def _trainable(results: list[Diagnosis]) -> str:
    """Such as "ready to train detectors and classifiers; not segmentors (mmseg is not installed)"."""
    installed = [result.name for result in results if result.name in FRAMEWORKS and result.state == 'ok']
    yes = ' and '.join(FRAMEWORKS[name] for name in installed)
    no = [f'{models} ({name} is not installed)' for name, models in FRAMEWORKS.items() if name not in installed]
    return f'ready to train {yes}' + (f'; not {" or ".join(no)}' if no else '')
