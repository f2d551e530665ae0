"""The notes of a weight file: MMEngine's `meta`, or the metadata of safetensors, which holds strings only."""

import json
from collections.abc import Mapping
from typing import Any

DATASET = 'dataset_meta'
"""MMEngine's key of what a data set says about itself, such as its class names."""


def class_names(meta: Mapping[str, Any]) -> list[str]:
    """The class names in the notes of a checkpoint, of MMDetection 3 or 2; empty if there are none."""
    notes = meta.get(DATASET)
    notes = {key.lower(): value for key, value in notes.items()} if isinstance(notes, Mapping) else {}
    names = notes.get('classes') or meta.get('CLASSES') or ()
    return [names] if isinstance(names, str) else list(names)


def as_strings(meta: Mapping[str, Any]) -> dict[str, str]:
    """Notes for safetensors: what is not a string becomes JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in meta.items()}


def from_strings(meta: Mapping[str, str]) -> dict[str, Any]:
    """Notes of safetensors, with `dataset_meta` as the dict that `as_strings` was given."""
    notes: dict[str, Any] = dict(meta)
    if DATASET in notes:
        try:
            notes[DATASET] = json.loads(notes[DATASET])
        except ValueError:
            # Other people's files may have any text there.
            del notes[DATASET]
    return notes
