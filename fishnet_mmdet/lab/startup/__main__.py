"""Times the parts of the start of `train` or `test`, up to the first batch, and compares two checkouts in turns.

python -m fishnet_mmdet.lab.startup train CONFIG --against OTHER_CHECKOUT
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fishnet_mmdet.base.errors import UserError, one_line_errors
from fishnet_mmdet.base.tables import Column, Table
from fishnet_mmdet.lab.generated import publish, split_page
from fishnet_mmdet.lab.machine import describe, sentence

PROBE = Path(__file__).with_name('probe.py')
HERE = Path(__file__).resolve().parents[3]

Parts = Mapping[str, Sequence[float]]


def start_once(checkout: Path, arguments: Sequence[str]) -> Parts:
    """Starts a command in a new process; returns the wall and processor seconds of each part.

    Raises:
        UserError: The command does not come to its first batch.
    """
    environment = {**os.environ, 'PYTHONPATH': str(checkout), 'PROBE_START': str(time.time())}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-W', 'ignore', str(PROBE), *arguments, '--work-dir', folder]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f'{" ".join(arguments)} in {checkout} failed:\n{done.stderr.strip()[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def fastest(starts: Sequence[Parts]) -> Parts:
    """The least of each part over several starts: what a start needs when nothing else gets in its way."""
    return {name: [min(start[name][kind] for start in starts) for kind in (0, 1)] for name in starts[0]}


def table(results: Mapping[str, Parts], title: str, rounds: int) -> Table:
    """A row for each part and one for their sum; a pair of columns for each checkout."""
    names = list(next(iter(results.values())))
    columns = [Column(title)]
    columns += [Column(f'{who}, {kind} s', '.2f') for who in results for kind in ('wall', 'processor')]
    rows = [[name, *(value for parts in results.values() for value in parts[name])] for name in names]
    sums = [sum(parts[name][kind] for name in names) for parts in results.values() for kind in (0, 1)]
    note = f'The least of {rounds} starts in turns. {sentence(describe("cpu"))}.'
    return Table(name='startup', title=title, columns=columns, rows=[*rows, ['together', *sums]], notes=[note])


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('command', choices=['train', 'test'])
    parser.add_argument('arguments', nargs='+', help="the command's own: a config; for `test` also a checkpoint")
    parser.add_argument('--against', type=Path, help='another checkout of the package, timed in turns with this one')
    parser.add_argument('--rounds', type=int, default=3, help='starts of each checkout (default: %(default)s)')
    parser.add_argument('--page', type=Path, help='page to write the table to, between two markers, <!-- startup -->')
    args, rest = parser.parse_known_args()
    checkouts = {'before': args.against.resolve()} if args.against else {}
    checkouts['now'] = HERE
    starts = {who: [] for who in checkouts}
    with one_line_errors():
        if args.page:
            split_page(args.page, 'startup')  # before the work, so that a wrong page is reported at once
        for number in range(args.rounds):
            for who, checkout in checkouts.items():
                starts[who].append(start_once(checkout, [args.command, *args.arguments, *rest]))
                used = sum(processor for _, processor in starts[who][-1].values())
                print(f'round {number + 1} of {args.rounds}, {who}: {used:.2f} s of processor time', flush=True)
        title = f'`{args.command} {Path(args.arguments[0]).stem}`'
        publish(table({who: fastest(each) for who, each in starts.items()}, title, args.rounds), args.page)


if __name__ == '__main__':
    main()
