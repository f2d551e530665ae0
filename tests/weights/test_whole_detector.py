"""`convert --whole`: a detector with neck, heads and class names, and `--half`."""

import pytest
import torch
from seeded import seeded_classifier
from weight_cases import same

from fishnet_mmdet.weights.convert import convert_weights
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.reading import read


@pytest.fixture
def detector(tmp_path):
    """A checkpoint of MMEngine, and its weights."""
    backbone = {k: v for k, v in seeded_classifier().state_dict().items() if k.startswith('backbone.')}
    heads = {'neck.lateral_convs.0.conv.weight': torch.rand(3), 'mask_head.conv.weight': torch.rand(2)}
    # A part that this project does not know.
    state = backbone | heads | {'encoder.query.weight': torch.rand(1)}
    torch.save({'meta': {'dataset_meta': {'CLASSES': ('nut', 'bolt')}}, 'state_dict': state}, tmp_path / 'd.pth')
    return tmp_path / 'd.pth', state


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_keeps_every_part_and_the_class_names(detector, tmp_path, ending):
    path, state = detector
    written, summary = convert_weights(str(path), tmp_path / f'out{ending}', whole=True)
    file = read(written)
    assert same(file.state, state) and 'left out' not in summary
    # As mmdet's inferencer reads it.
    assert file.meta['dataset_meta'] == {'classes': ['nut', 'bolt']}


def test_a_backbone_that_does_not_fit_is_refused_all_the_same(detector, tmp_path):
    path, state = detector
    del state['backbone.stem.0.conv.weight']
    torch.save(state, path)
    with pytest.raises(WeightsError, match='stem.0.conv.weight'):
        convert_weights(str(path), tmp_path / 'out.pth', whole=True)


def test_half(call_tool, detector, tmp_path):
    path, state = detector
    done = call_tool('tools/convert_checkpoint.py', path, tmp_path / 'out.pth', '--whole', '--half', '--licence', 'CC0')
    expected = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    file = read(tmp_path / 'out.pth')
    assert same(file.state, expected) and file.meta['licence'] == 'CC0' and 'written as float16' in done.stdout


def test_what_half_cannot_hold_is_named(detector, tmp_path):
    path, state = detector
    state['neck.lateral_convs.0.conv.weight'][1] = 70_000
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r'neck\.lateral_convs\.0\.conv\.weight .*without --half'):
        convert_weights(str(path), tmp_path / 'out.pth', whole=True, half=True)
    assert not (tmp_path / 'out.pth').exists()
