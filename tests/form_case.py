"""A network, images and detections that forms for inference are compared by."""

import torch
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.registry import MODELS, DefaultScope
from seeded import NARROW, seed
from torch import nn

from fishnet_mmdet import FishNet

register_all_modules()

BF16 = 2**-5
"""Bound on relative errors in bfloat16: 16 of its roundings (2^-9 each), which is what tens of layers may add up to."""


def image(n=2, height=75, width=130):
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(0))


def fish(arch=NARROW, **arguments):
    net = FishNet(arch, **arguments).eval()
    seed(net)
    return net


class Deformable(nn.Module):
    """A backbone with a neck of mmcv's deformable convolutions, which read maps as contiguous."""

    def __init__(self):
        super().__init__()
        self.backbone = fish()
        channels = [level.shape[1] for level in self.backbone(image(1, 64, 64))]
        with DefaultScope.overwrite_default_scope('mmdet'):
            self.neck = MODELS.build(
                [
                    dict(type='FPN', in_channels=channels, out_channels=16, num_outs=4),
                    dict(type='DyHead', in_channels=16, out_channels=16, num_blocks=1, zero_init_offset=False),
                ]
            )
        self.eval()

    def forward(self, x):
        return self.neck(self.backbone(x))


def detections(model, images):
    samples = []
    for picture in images:
        shape = tuple(picture.shape[-2:])
        sample = DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)))
        samples.append(sample)
    with torch.no_grad():
        data = model.data_preprocessor(dict(inputs=list(images), data_samples=samples), False)
        return [sample.pred_instances for sample in model.predict(data['inputs'], data['data_samples'])]
