"""What can be told before a model is built: are data and weights there and sound, do classes and evaluators fit."""

from fishnet_mmdet.preflight.check import check, examine
from fishnet_mmdet.preflight.cleaning import drop_bad, use_cleaned
from fishnet_mmdet.preflight.findings import KINDS, Finding, Kind, PreflightError, Report

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
