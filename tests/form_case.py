"""A network, images and detections that forms for inference are compared by."""

import torch
from mmdet.structures import DetDataSample
from seeded import NARROW, seed

from fishnet_mmdet import FishNet

BF16 = 2**-5
"""Bound on relative errors in bfloat16: 16 of its roundings (2^-9 each), which is what tens of layers may add up to."""


def image(n=2, height=75, width=130):
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(0))


def fish(arch=NARROW, **arguments):
    net = FishNet(arch, **arguments).eval()
    seed(net)
    return net


def detections(model, images):
    samples = []
    for picture in images:
        shape = tuple(picture.shape[-2:])
        sample = DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)))
        samples.append(sample)
    with torch.no_grad():
        data = model.data_preprocessor(dict(inputs=list(images), data_samples=samples), False)
        return [sample.pred_instances for sample in model.predict(data['inputs'], data['data_samples'])]
