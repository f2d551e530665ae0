"""Checks before a run: are data and weights there and readable, and do classes, data and evaluators fit together."""

from fishnet_mmdet.preflight.check import check, examine
from fishnet_mmdet.preflight.cleaning import drop_bad, use_cleaned
from fishnet_mmdet.preflight.findings import Finding, PreflightError, Report
from fishnet_mmdet.preflight.kinds import KINDS, Kind

__all__ = [
    'KINDS',
    'Finding',
    'Kind',
    'PreflightError',
    'Report',
    'check',
    'drop_bad',
    'examine',
    'use_cleaned',
]
