"""Ports MMDetection's configs with a ResNet-50, trains each for a step, and writes a page about it.

A second call goes on where the first one stopped.
"""

import argparse
from pathlib import Path

import mmdet.models  # noqa: F401  (imported once, for all forked processes)

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import one_line_errors
from fishnet_mmdet.lab.port_report.page import page
from fishnet_mmdet.lab.port_report.run import config_names, forget, read, run


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--lines', required=True, type=Path, help='file for the records, one JSON line for each config')
    parser.add_argument('--page', type=Path, help='Markdown file to write at the end')
    parser.add_argument(
        '--first', type=int, help='stop after so many configs of the list, which is spread over folders'
    )
    parser.add_argument('--only', default='', help='only configs with this text in their name')
    parser.add_argument('--again', action='store_true', help='run these configs although they have a record')
    parser.add_argument('--timeout', type=float, default=120, help='seconds for a config (default: %(default)s)')
    args = parser.parse_args()
    with one_line_errors():
        everything = config_names()
        names = [name for name in everything if args.only in name][: args.first]
        if args.again:
            forget(names, args.lines)
        for record in run(names, args.lines, args.timeout):
            fish, resnet = record['fishnet'], record['resnet']
            print(
                f'{record["config"]}: {fish["outcome"]}; ResNet {resnet["outcome"]}; {record["seconds"]} s  '
                f'{fish.get("reason", "")}  {resnet.get("reason", "")}',
                flush=True,
            )
        if args.page:
            write_atomically(args.page, page(read(args.lines), len(everything)).encode())


if __name__ == '__main__':
    main()
