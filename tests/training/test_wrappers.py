"""Models that hold several heads or several models: keys of their settings, channels_last, and the inference form."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from seeded import NARROW
from torch import nn

from fishnet_mmdet import FishNet, optimize_for_inference
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.deploy.inference import InferenceForm
from fishnet_mmdet.training.channels_last import ChannelsLast
from fishnet_mmdet.training.guards.class_count import mismatches

DATA = dict(classes=('a', 'b', 'c'))


class Head(nn.Module):
    num_classes = 80


class Detector(nn.Module):
    """A FishNet with a neck and a head."""

    def __init__(self):
        super().__init__()
        self.backbone = FishNet(NARROW, init_cfg=None)
        self.neck = nn.Identity()
        self.bbox_head = Head()

    def forward(self, x):
        return self.neck(self.backbone(x))


class Pair(nn.Module):
    """As mmdet's SoftTeacher."""

    def __init__(self):
        super().__init__()
        self.student, self.teacher = Detector(), Detector()


def cascade():
    roi_head = nn.Module()
    roi_head.bbox_head = nn.ModuleList(Head() for _ in range(2))
    roi_head.mask_head = nn.ModuleList(Head() for _ in range(2))
    model = nn.Module()
    model.roi_head = roi_head
    return model


class TestKeysOfClassCounts:
    @pytest.mark.parametrize(
        'model, config, keys',
        [
            (cascade(), dict(roi_head=dict(bbox_head=[dict(num_classes=80), dict(num_classes=80)],
             mask_head=dict(num_classes=80))), ['roi_head.bbox_head.0', 'roi_head.bbox_head.1', 'roi_head.mask_head']),
            (cascade(), dict(roi_head=dict(bbox_head=dict(), mask_head=[dict(), dict()])),
             ['roi_head.bbox_head', 'roi_head.mask_head.0', 'roi_head.mask_head.1']),
            (Pair(), dict(detector=dict(bbox_head=dict(num_classes=80))), ['detector.bbox_head']),
            (Pair(), None, ['student.bbox_head', 'teacher.bbox_head']),
            (nn.ModuleDict(dict(bbox_head=Head())), dict(bbox_head=dict()), ['bbox_head']),
        ],
    )  # fmt: skip
    def test_keys_set_the_heads(self, model, config, keys):
        lines = mismatches(model, DATA, 'train', config)
        assert [line.split(' = ')[0] for line in lines] == [f'model.{key}.num_classes' for key in keys]
        if config is None:
            return
        cfg = Config(dict(model=config))
        for line in lines:
            key, value = line.split(': set ')[1].split(', or')[0].split('=')
            # As --cfg-options does.
            cfg.merge_from_dict({key: int(value)})
        text = str(cfg.to_dict())
        assert '80' not in text and text.count("'num_classes': 3") == len(keys)


class TestChannelsLast:
    def test_every_model_of_a_wrapper(self):
        pair = Pair()
        ChannelsLast().before_run(SimpleNamespace(model=pair))
        for model in (pair.student, pair.teacher):
            weights = [module.weight for module in model.backbone.modules() if isinstance(module, nn.Conv2d)]
            assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)

    def test_no_backbone(self):
        with pytest.raises(ConfigError, match='no backbone in Linear'):
            ChannelsLast().before_run(SimpleNamespace(model=nn.Linear(2, 2)))


class TestInferenceForm:
    def test_every_model_of_a_wrapper(self):
        pair = Pair().eval()
        fast, image = optimize_for_inference(pair), torch.randn(1, 3, 64, 64)
        for name in ('student', 'teacher'):
            model = getattr(fast, name)
            assert isinstance(model.backbone, InferenceForm)
            with torch.no_grad():
                for ours, theirs in zip(model(image), getattr(pair, name)(image), strict=True):
                    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
