"""Which of our keys is which of pytorchcv's: an independent implementation with names of its own."""

import re

import torch

# Ours (classifier.state_dict()) -> pytorchcv 0.0.74's, first match wins; (\d) indices are from 0, theirs from 1.
PARTS = [
    (r'backbone\.stem\.(\d)\.', lambda i: f'features.init_block.conv{i + 1}.'),
    (r'backbone\.tail\.(\d)\.refine\.', lambda i: f'features.hg.down1_seq.unit{i + 1}.blocks.'),
    (r'backbone\.bridge\.squeeze\.', lambda: 'features.hg.skip1_seq.unit4.conv1.'),
    (r'backbone\.bridge\.expand\.', lambda: 'features.hg.skip1_seq.unit4.conv2.'),
    (r'backbone\.bridge\.refine\.', lambda: 'features.hg.skip1_seq.unit4.blocks.'),
    (r'backbone\.bridge\.attention\.', lambda: 'features.hg.skip1_seq.unit4.se.'),
    (r'backbone\.body\.(\d)\.refine\.', lambda i: f'features.hg.up_seq.unit{i + 1}.blocks.'),
    (r'backbone\.body\.(\d)\.transfer\.', lambda i: f'features.hg.skip1_seq.unit{3 - i}.blocks.'),
    (r'backbone\.head\.(\d)\.refine\.', lambda i: f'features.hg.down2_seq.unit{i + 1}.blocks.'),
    (r'backbone\.head\.(\d)\.transfer\.', lambda i: f'features.hg.skip2_seq.unit{3 - i}.blocks.'),
    (r'neck\.squeeze\.', lambda: 'features.final_block.conv1.'),
    (r'neck\.norm\.', lambda: 'features.final_block.preactiv.bn.'),
    (r'fc\.', lambda: 'output.final_conv.'),
]
LAYERS = [
    (r'\b(\d)\.(?=squeeze|conv|expand|shortcut)', lambda m: f'block{int(m[1]) + 1}.'),
    (r'(block\d)\.squeeze\.', r'\1.body.conv1.'),
    (r'(block\d)\.conv\.', r'\1.body.conv2.'),
    (r'(block\d)\.expand\.', r'\1.body.conv3.'),
    (r'(block\d)\.shortcut\.', r'\1.identity_conv.'),
    (r'\.se\.squeeze\.', '.se.conv1.'),
    (r'\.se\.excite\.', '.se.conv2.'),
    (r'\bnorm\.', 'bn.'),
]


def pytorchcv_key(ours: str) -> str:
    """Their name of one of our keys."""
    for pattern, prefix in PARTS:
        if match := re.match(pattern, ours):
            key = prefix(*map(int, match.groups())) + ours[match.end() :]
            for layer, name in LAYERS:
                key = re.sub(layer, name, key)
            return key
    raise KeyError(ours)


def load_from_pytorchcv(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    """Copies weights; every key of both networks is used once."""
    source, target = theirs.state_dict(), ours.state_dict()
    filled = {key: source.pop(pytorchcv_key(key)).reshape(value.shape) for key, value in target.items()}
    assert not source, f'not used: {list(source)}'
    ours.load_state_dict(filled)
