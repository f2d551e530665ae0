"""The same weights give the same numbers as two networks that we did not write."""

import json

import numpy as np
import pytest
import torch
from seeded import REFERENCE, load_seeded, official_keys, seeded_tensor
from seeded_pytorchcv import load_from_pytorchcv

from fishnet_mmdet import FishNetClassifier

GOLDEN = json.loads((REFERENCE / 'official_golden_99.json').read_text())['output']


def relative_error(ours, theirs):
    theirs = torch.as_tensor(theirs, dtype=torch.float64)
    return ((ours.double() - theirs).norm() / theirs.norm()).item()


@pytest.fixture(scope='module')
def golden_run():
    """What the authors' code was asked: seeded FishNet-99, two seeded images of 64 x 64, float64."""
    net = FishNetClassifier('fishnet99').double().eval()
    load_seeded(net, official_keys('fishnet99'))
    image = torch.from_numpy(np.random.Generator(np.random.PCG64(7)).normal(0, 1, (2, 3, 64, 64)))
    net.backbone.out_indices = (0, 1, 2, 3)
    with torch.no_grad():
        levels = net.backbone(image)
        logits = net.fc(net.neck(levels)[0])
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


@pytest.mark.parametrize('name', ['fishnet99', 'fishnet150', 'fishnet201'])
def test_released_checkpoints_have_our_shapes(name):
    """In order, released shape by released shape; the last layer's 1x1 convolution is our linear layer."""
    with torch.device('meta'):
        ours = [tuple(v.shape) for v in FishNetClassifier(name).state_dict().values()]
    theirs = list(official_keys(name).values())
    assert [s[:2] if len(s) == 4 else s for s in ours] == [s[:2] if len(s) == 4 else s for s in theirs]
    assert ours[:-2] == theirs[:-2]


@pytest.mark.parametrize('name', ['fishnet99', 'fishnet150'])
def test_pytorchcv_gives_the_same(name):
    from pytorchcv.model_provider import get_model

    theirs = get_model(name, pretrained=False).eval()
    seeded = {k: seeded_tensor(k, tuple(v.shape)).to(v.dtype) for k, v in theirs.state_dict().items()}
    theirs.load_state_dict(seeded)
    ours = FishNetClassifier(name).eval()
    load_from_pytorchcv(ours, theirs)
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
