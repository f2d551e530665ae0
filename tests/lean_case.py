"""FishNets of every layout, seeded alike, and one training step of them, for tests of what must not change it."""

from dataclasses import replace

import torch
from seeded import NARROW, seed

from fishnet_mmdet import FishNet

FIXED = dict(norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True)
GN = dict(norm_cfg=dict(type='GN', num_groups=1))
LAYOUTS = {
    'released': NARROW,
    'residual stem, max3': replace(NARROW, stem='residual', down='max3', up='bilinear'),
    'strided convolutions': replace(NARROW, stem='conv7x7', down='conv', dilation='body_head', attention='none'),
    'groups, average': replace(NARROW, group_width=1, down='avg2', dilation='none', stem_stride=2),
}  # fmt: skip


def build(arch=NARROW, **options):
    net = FishNet(arch, **options)
    seed(net)
    return net


def image(*shape):
    return torch.rand(*(shape or (2, 3, 64, 64)), generator=torch.Generator().manual_seed(1))


def step(net, x):
    """Features, and all gradients, of one training step."""
    net.zero_grad()
    levels = net(x)
    sum(level.float().square().mean() for level in levels).backward()
    return levels, {k: p.grad for k, p in net.named_parameters() if p.grad is not None}


def joined(gradients):
    return torch.cat([gradients[k].double().flatten() for k in sorted(gradients)])
