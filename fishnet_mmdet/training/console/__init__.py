"""What a run shows while the log file keeps MMEngine's lines: rows at the start, a bar or short lines, figures."""

from fishnet_mmdet.training.console.modes import MODES
from fishnet_mmdet.training.console.screen import Screen

__all__ = ['MODES', 'Screen']
