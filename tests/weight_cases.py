"""Weight files for several test files: in any key naming, as the authors wrote theirs, or with a payload."""

import torch

from fishnet_mmdet.weights.namings import OWN


def in_naming(state, naming):
    """Our state dict by the keys of another naming."""
    if naming == OWN:
        return dict(state)
    renamed = {naming.from_own(key): value for key, value in state.items()}
    last = naming.from_own('head.fc.weight')
    renamed[last] = renamed[last][:, :, None, None]
    return renamed


def as_downloaded(state, path):
    """Writes a file as the authors wrote theirs: DataParallel's prefix, an optimizer, torch's legacy format."""
    wrapped = {f'module.{key}': value for key, value in state.items()}
    optimizer = {
        'state': {0: {'momentum_buffer': torch.ones(3)}},
        'param_groups': [{'lr': 0.1, 'params': [0]}],
    }
    content = {'epoch': 100, 'arch': 'fish', 'state_dict': wrapped, 'best_prec1': torch.tensor(78.1)}
    torch.save({**content, 'optimizer': optimizer}, path, _use_new_zipfile_serialization=False)
    return path


def same(a, b):
    """Whether two state dicts have the same keys and the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class Call:
    """Unpickles to a call, which leaves a mark."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def readable(error):
    """Whether an error is lines of printable text."""
    text = str(error)
    return text.isprintable() or all(line.isprintable() for line in text.splitlines())
