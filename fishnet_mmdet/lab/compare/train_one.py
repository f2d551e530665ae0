"""Trains one run of a comparison in a process of its own, and resumes it if it was interrupted.

`python -m fishnet_mmdet.lab.compare.train_one CONFIG --work-dir DIR` does what `fishnet-mmdet train CONFIG --work-dir
DIR --resume` does, from any installed package.
"""

import argparse

from fishnet_mmdet.base.errors import one_line_errors
from fishnet_mmdet.training.launch import add_common_arguments, load_config, train


def main() -> None:
    """Parses the arguments and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of the run')
    add_common_arguments(parser)
    train(load_config(parser.parse_args()), resume='auto')


if __name__ == '__main__':
    with one_line_errors():
        main()
