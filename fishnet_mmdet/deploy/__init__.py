"""Trained networks for inference: prediction on pictures and videos, the optimized form, and ONNX files."""

from importlib import import_module
from typing import Any

_HOMES = {'Prediction': 'prediction', 'Predictor': 'predictor', 'predict_files': 'run', 'find_inputs': 'inputs'}

__all__ = ['Prediction', 'Predictor', 'find_inputs', 'predict_files']


def __getattr__(name: str) -> Any:
    """Imports on first use: `optimize_for_inference`, which lies in this room, needs none of it."""
    if name in _HOMES:
        return getattr(import_module(f'{__name__}.infer.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
