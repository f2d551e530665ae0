"""Lets the scripts of this folder run commands of the package as its console script does."""

import sys
from pathlib import Path

# The folder of the console script, which an installation of the package need not include.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from fishnet_mmdet_console import run_tool  # noqa: E402

__all__ = ['run_tool']
