"""Sets up, tests and trains with every Python and family, and writes what came out of it."""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from environment.commands import SetupError, advice, run_logged, say
from environment.families import REPO
from environment.support import NEWEST, Row, all_rows, read_results, write_generated, write_results

WORK = REPO / 'work_dirs' / 'matrix'
NEWEST_SPEC = 'torch torchvision'


def main() -> None:
    """Parses the arguments and tries the rows; the status is 1 if one could not be tried or failed."""
    names = [row.name for row in all_rows()]
    parser = argparse.ArgumentParser(
        description='Sets up, runs the test suite and trains the demo, each row in an environment of its own. Each '
        'result is written at once to docs/support.json; a row that is complete is not run again. At the end, writes '
        'the table of docs/support.md and what the doctor knows.'
    )
    parser.add_argument('rows', nargs='*', metavar='ROW', help=f'rows to try (default: all): {", ".join(names)}')
    parser.add_argument('--again', action='store_true', help='try rows that are complete again')
    parser.add_argument('--keep', action='store_true', help='keep the environments, 6 to 8 GB each')
    parser.add_argument('--table', action='store_true', help='only write what is generated from docs/support.json')
    args = parser.parse_args()
    if unknown := sorted(set(args.rows) - set(names)):
        sys.exit(f'rows that do not exist: {", ".join(unknown)}; there are {", ".join(names)}')
    chosen = [] if args.table else [row for row in all_rows() if not args.rows or row.name in args.rows]
    try:
        failed = [row.name for row in chosen if not try_row(row, args.again, args.keep)]
    except KeyboardInterrupt:
        sys.exit('interrupted; what is done is kept, the same command goes on')
    finally:
        write_generated(read_results())
    if failed:
        sys.exit(f'failed or not tried: {", ".join(failed)}')


def try_row(row: Row, again: bool, keep: bool) -> bool:
    """Runs the steps of a row that are not done, and records each.

    Args:
        row: The combination.
        again: Whether to begin from nothing although the row is recorded.
        keep: Whether to keep the environment.

    Returns:
        Whether the row is complete without a failure of a step. Failed tests are a result.
    """
    python = find_python(row.python)
    if not python:
        say(f'{row.name}: no python{row.python} runs here; put it on the PATH')
        return False
    found = {} if again else read_results().get(row.name, {})
    folder, log = REPO / f'.venv-matrix-{row.name}', WORK / f'{row.name}.log'
    if complete(found):
        say(f'{row.name}: done on {found["date"]}')
        return True
    if not folder.exists():
        # What was found in another environment does not hold for the next.
        found = {key: value for key, value in found.items() if key == 'note'}
    log.parent.mkdir(parents=True, exist_ok=True)
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    found.pop('error', None)
    make = ['make', f'PYTHON={python}', f'VENV={folder}', f'STACK={row.family}']
    make += [f'TORCH_SPEC={NEWEST_SPEC}'] if row.torch == NEWEST else []
    steps = [('set-up', 'setup_seconds', _set_up), ('test suite', 'passed', _test), ('demo', 'bbox', _demo)]
    try:
        for what, key, step in steps:
            if key not in found or not folder.exists():
                say(f'{row.name}: {what}')
                found |= {'date': datetime.date.today().isoformat(), **step(row, make, folder, log)}
                _record(row, found)
    except SetupError as error:
        say(f'{row.name}: {error}')
        _record(row, found | {'date': datetime.date.today().isoformat(), 'error': str(error).splitlines()[0]})
        return False
    if not keep:
        shutil.rmtree(folder)
    return True


def complete(found: dict) -> bool:
    """Whether every step of a row is recorded."""
    return 'bbox' in found and 'passed' in found and 'error' not in found


def find_python(version: str) -> str | None:
    """The path of a Python of this version, if one runs here."""
    command = shutil.which(f'python{version}')
    code = 'import sys; print("%d.%d" % sys.version_info[:2]); print(sys.executable)'
    done = subprocess.run([command, '-c', code], capture_output=True, text=True) if command else None
    if not done or done.returncode or done.stdout.split('\n')[0] != version:
        return None
    return done.stdout.splitlines()[1]


def _record(row: Row, found: dict) -> None:
    results = read_results()
    # In the order of the table.
    results[row.name] = found
    write_results({known.name: results[known.name] for known in all_rows() if known.name in results})
    # At once: the suite holds the page and the doctor to the results.
    write_generated(read_results())


def _set_up(row: Row, make: list[str], folder: Path, log: Path) -> dict:
    """Times a set-up from nothing, but for the wheels that are kept."""
    shutil.rmtree(folder, ignore_errors=True)
    start, before = time.monotonic(), log.stat().st_size if log.exists() else 0
    run_logged('set-up', [*make, 'setup'], log)
    seconds = time.monotonic() - start
    printed = log.read_bytes()[before:]
    code = 'import torch; print(torch.__version__.split("+")[0])'
    torch = subprocess.run([folder / 'bin' / 'python', '-c', code], capture_output=True, text=True, check=True).stdout
    built = 'built' if b'-- building ' in printed else 'from the cache'
    return {'torch': torch.strip(), 'setup_seconds': round(seconds), 'mmcv': built}


def _test(row: Row, make: list[str], folder: Path, log: Path) -> dict:
    """Runs the test suite; failed tests are a result."""
    report = WORK / f'{row.name}.xml'
    report.unlink(missing_ok=True)
    command = [folder / 'bin' / 'python', '-m', 'pytest', '-q', f'--junitxml={report}']
    with log.open('a') as file:
        subprocess.run(command, cwd=REPO, stdout=file, stderr=subprocess.STDOUT)
    if not report.exists():
        raise SetupError(f'the test suite did not run to its end: {advice(log.read_text(errors="replace")[-4000:])}')
    return count(report)


def count(report: Path) -> dict:
    """What a JUnit report counts, with the names of tests that failed."""
    (suite,) = ElementTree.parse(report).getroot().iter('testsuite')
    bad = [
        case for case in suite.iter('testcase') if case.find('failure') is not None or case.find('error') is not None
    ]
    names = sorted({f'{case.get("classname")}::{case.get("name")}' for case in bad})
    skipped, total = int(suite.get('skipped')), int(suite.get('tests'))
    failed = int(suite.get('failures')) + int(suite.get('errors'))
    return {'passed': total - failed - skipped, 'failed': failed, 'skipped': skipped, 'failures': names}


def _demo(row: Row, make: list[str], folder: Path, log: Path) -> dict:
    """Trains the demo and tests it."""
    out = WORK / row.name
    shutil.rmtree(out, ignore_errors=True)
    run_logged('demo', [*make, f'DEMO_DIR={out}', 'demo'], log)
    rows = json.loads((out / 'ap_test.json').read_text())['measured']
    return {entry['type']: round(100 * entry['AP'], 1) for entry in rows}
