"""The same weights give the same numbers as two networks that we did not write, converted by name."""

import json

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from seeded import (
    REFERENCE,
    load_in_order,
    official_keys,
    official_state,
    relative_error,
    seed,
    seeded_classifier,
)

from fishnet_mmdet import ARCHS, FishNetClassifier
from fishnet_mmdet.weights.infer_arch import infer_arch
from fishnet_mmdet.weights.namings import OFFICIAL, PYTORCHCV, recognise_naming
from fishnet_mmdet.weights.renaming import rename

GOLDEN = json.loads((REFERENCE / 'official_golden_99.json').read_text())['output']
NAMES = ['fishnet99', 'fishnet150', 'fishnet201']


@pytest.fixture(scope='module')
def golden_run():
    """What the authors' code was asked: seeded FishNet-99, two seeded images of 64 x 64, float64."""
    net = FishNetClassifier('fishnet99').double().eval()
    net.load_state_dict(rename(official_state('fishnet99', torch.float64), OFFICIAL).state)
    image = torch.from_numpy(np.random.Generator(np.random.PCG64(7)).normal(0, 1, (2, 3, 64, 64)))
    net.backbone.out_indices = (0, 1, 2, 3)
    with torch.no_grad():
        levels = net.backbone(image)
        logits = net.head(net.neck(levels)[0])
        single = net.float()(image.float())
    return levels, logits, single


def test_logits_are_the_authors(golden_run):
    _, logits, single = golden_run
    assert relative_error(logits[0, :64], GOLDEN['logits_of_first_image_first_64']) < 1e-10
    assert logits.sum().item() == pytest.approx(GOLDEN['sum_of_all_logits'], rel=1e-10)
    assert relative_error(single[0, :64], GOLDEN['logits_of_first_image_first_64']) < 1e-5


@pytest.mark.parametrize('index, name', enumerate(['s1', 's2', 's3', 's4']))
def test_head_features_are_the_authors(golden_run, index, name):
    level, golden = golden_run[0][index], GOLDEN['head_stages'][name]
    assert list(level.shape) == golden['shape']
    probe = level[1, :: max(1, level.shape[1] // 16), 0, 0]
    assert relative_error(probe, golden['probe']) < 1e-10
    assert level.mean().item() == pytest.approx(golden['mean'], rel=1e-10)
    assert level.std(correction=0).item() == pytest.approx(golden['std'], rel=1e-3)


@pytest.mark.parametrize('name', NAMES)
def test_released_keys_are_ours_by_name_as_by_order(name):
    """Every key is explained, back and forth; and the map by names is the one by order, which knows no names."""
    state = official_state(name)
    naming = recognise_naming(state)
    own = rename(state, naming)
    assert naming is OFFICIAL and not own.unexplained and not own.notes
    assert all(naming.from_own(naming.to_own(key)) == key for key in official_keys(name))
    assert infer_arch({key: tuple(value.shape) for key, value in own.state.items()}) == ARCHS[name]
    net = FishNetClassifier(name)
    load_in_order(net, state)
    expected = net.state_dict()
    assert own.state.keys() == expected.keys()
    assert all(torch.equal(own.state[key], expected[key]) for key in expected)


@pytest.mark.parametrize('name', ['fishnet99', 'fishnet150'])
def test_pytorchcv_gives_the_same(name):
    from pytorchcv.model_provider import get_model

    theirs = get_model(name, pretrained=False).eval()
    seed(theirs)
    state = theirs.state_dict()
    own = rename(state, naming := recognise_naming(state))
    assert naming is PYTORCHCV and not own.unexplained
    assert all(naming.from_own(naming.to_own(key)) == key for key in state)
    ours = FishNetClassifier(name).eval()
    ours.load_state_dict(own.state)
    # Its average pool is 7 x 7 and without padding, so that only sides of 224 to 255 give one score; its
    # up-sampling is x2, so that every side must be a multiple of 32: 224 it is, and any such size for features.
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 224, 224, generator=generator)
    tall = torch.randn(1, 3, 96, 160, generator=generator)
    for dtype, bound in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        ours, theirs = ours.to(dtype), theirs.to(dtype)
        with torch.no_grad():
            assert relative_error(ours(image.to(dtype)), theirs(image.to(dtype))) < bound
            feature = theirs.features.hg(theirs.features.init_block(tall.to(dtype)))
            assert relative_error(ours.backbone(tall.to(dtype))[0], feature) < bound


def well_trained(state, number):
    """A released state dict, named as in github.com/lyakaap/Landmark2019-1st-and-3rd-Place-Solution."""
    moved = {'3.0.2': '3.1.0', '3.0.3': '3.1.1', '3.1': '3.1.3'}
    if number == 150:
        moved |= {'9.3.2': '9.4.0', '9.3.3': '9.4.1', '9.4.1': '9.4.4'}
    else:
        moved |= {'9.3.0': '9.2.0', '9.3.2': '9.3.0', '9.3.3': '9.3.1', '9.4.1': '9.3.4'}
        moved |= {'0.0.0.shortcut.2': '0.0.0.shortcut'}
    renamed = {}
    for key, value in state.items():
        path, tensor = key.removeprefix('fish.fish.').rsplit('.', 1)
        if tensor == 'num_batches_tracked' or (number == 201 and path == '0.0.0.shortcut.0'):
            continue
        renamed[f'fish.fish.{moved[path]}.{tensor}' if path in moved else key] = value
    return renamed


@pytest.mark.parametrize('number', [150, 201])
def test_well_trained_files_have_other_numbers(number):
    """Older than torch 0.4.1, with scores numbered otherwise; 201 lacks the norm and ReLU of its first shortcut."""
    state = official_state(f'fishnet{number}', torch.float64)
    own = rename(well_trained(state, number), naming := recognise_naming(well_trained(state, number)))
    assert naming.name == f'official (well-trained {number})' and not own.unexplained
    assert any('num_batches_tracked' in note for note in own.notes)
    net = FishNetClassifier(f'fishnet{number}').double().eval()
    net.load_state_dict(own.state)
    expected = FishNetClassifier(f'fishnet{number}').double().eval()
    load_in_order(expected, state)
    if number == 201:
        expected.backbone.tail[0].refine[0].shortcut = expected.backbone.tail[0].refine[0].shortcut.conv
    image = torch.from_numpy(np.random.default_rng(3).normal(0, 1, (1, 3, 64, 96)))
    with torch.no_grad():
        assert relative_error(net(image), expected(image)) < 1e-10


def test_the_classifier_has_mmpretrains_keys():
    from mmpretrain.registry import MODELS

    cfg = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='FishNet', arch='fishnet99', out_indices=(3,)),
        neck=dict(type='FishNetNeck', in_channels=2112),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=1000, in_channels=1056),
    )
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmpretrain'):
        theirs, ours = MODELS.build(cfg).state_dict(), FishNetClassifier('fishnet99').state_dict()
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in ours.items()}
    assert seeded_classifier().head.fc.out_features == 7
