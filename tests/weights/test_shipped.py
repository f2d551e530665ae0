"""The detectors that ship: they load by name, find what they were trained for, and are as good as their card says."""

import re

import cv2
import numpy as np
import pytest
import torch
from conftest import REAL_DATA, REPO
from mmengine.config import Config

from fishnet_mmdet import FishNet
from fishnet_mmdet.base.config_files import find_config
from fishnet_mmdet.deploy import Predictor
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.load import load, locate
from fishnet_mmdet.weights.reading import read
from fishnet_mmdet.weights.shipped import FOLDER, SHIPPED

CARD = REPO / 'docs' / 'model-cards' / 'nuclei.md'
DETECTOR = SHIPPED['nuclei-mask-rcnn']
SOURCE = 'fishnet://nuclei-mask-rcnn'


def nuclei(side=256, count=12, seed=0):
    """A drawn fluorescence picture: blurred ellipses on a dark ground, and the mask of each."""
    rng = np.random.default_rng(seed)
    picture, masks = np.full((side, side), 12.0, np.float32), []
    cells = rng.permutation([(x, y) for x in range(4) for y in range(4)])[:count]
    for x, y in cells * side // 4 + side // 8:
        centre = (int(x + rng.integers(-6, 7)), int(y + rng.integers(-6, 7)))
        axes = (int(rng.integers(9, 17)), int(rng.integers(8, 13)))
        mask = cv2.ellipse(np.zeros((side, side), np.uint8), centre, axes, int(rng.integers(180)), 0, 360, 1, -1)
        picture += mask * rng.integers(60, 140)
        masks.append(mask.astype(bool))
    picture = cv2.GaussianBlur(picture, (0, 0), 1.2) + rng.normal(0, 3, picture.shape)
    return np.repeat(picture.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), masks


@pytest.fixture(scope='module')
def predictor():
    return Predictor(DETECTOR.config, SOURCE, device='cpu')


class TestNames:
    def test_every_file_has_a_name_and_at_most_8_mb(self):
        assert {entry.path for entry in SHIPPED.values()} == set(FOLDER.glob('*'))
        assert all(entry.path.stat().st_size <= 8e6 for entry in SHIPPED.values())

    def test_a_near_name_is_suggested(self):
        with pytest.raises(WeightsError, match=f'Did you mean {SOURCE}'):
            locate('fishnet://nuclei-maskrcnn')

    def test_its_backbone_starts_another_training(self):
        arch = Config.fromfile(find_config(DETECTOR.config)).model.backbone.arch
        net = FishNet(dict(arch), init_cfg=dict(type='Pretrained', checkpoint=SOURCE))
        net.init_weights()
        assert torch.equal(net.stem[0].conv.weight, load(SOURCE).renamed.state['backbone.stem.0.conv.weight'].float())

    def test_the_card_names_the_file_that_is_there(self):
        assert read(DETECTOR.path).sha256 in CARD.read_text()


class TestNuclei:
    def test_finds_drawn_nuclei(self, predictor):
        picture, masks = nuclei()
        found = predictor.predict(picture, threshold=0.5)
        assert set(found.names) == {'nucleus'}
        overlaps = [max((a & b).sum() / (a | b).sum() for b in found.masks) for a in masks]
        assert min(overlaps) > 0.7, overlaps
        assert len(found) == len(masks)

    def test_finds_nothing_where_nothing_is(self, predictor):
        ground = np.random.default_rng(0).normal(12, 3, (256, 256, 1)).clip(0, 255).astype(np.uint8)
        assert len(predictor.predict(np.repeat(ground, 3, axis=2), threshold=0.5)) == 0

    @pytest.mark.long
    def test_ap_is_that_of_the_card(self, run_tool, monkeypatch, tmp_path):
        """91 pictures: a minute."""
        if not (REAL_DATA / 'nuclei').is_dir():
            pytest.skip('the nuclei are not here')
        monkeypatch.setenv('NUCLEI_ROOT', str(REAL_DATA / 'nuclei'))
        output = run_tool('tools/test.py', DETECTOR.config, SOURCE, '--work-dir', tmp_path).stdout
        rows = re.findall(r'^\| (?:bbox|segm) .*$', CARD.read_text(), re.MULTILINE)
        assert len(rows) == 2
        for row in rows:
            name, *figures = row.strip('| ').split(' | ')
            assert re.search(rf'{name}\W+' + r'\W+'.join(map(re.escape, figures)), output)
