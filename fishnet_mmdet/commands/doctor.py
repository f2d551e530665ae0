"""Checks whether this machine is ready to train: what is installed, what is broken, and the command that fixes it."""

import argparse

from fishnet_mmdet.doctor.report import main


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds no flag."""


def run(args: argparse.Namespace) -> int:
    """Prints every diagnosis; returns 1 if a training cannot run."""
    return main()
