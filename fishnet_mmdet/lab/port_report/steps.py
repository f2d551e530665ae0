"""One training step of a config: forward, losses, backward."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from fishnet_mmdet.lab.port_report.inputs import batch_for
from fishnet_mmdet.project.port.bases import read_base

BOXES = 32
"""Proposals for each image."""


def train_a_step(config: Config, side: int = 128) -> dict[str, float]:
    """Builds the model of a config with random weights and trains it for a step on made-up images.

    Args:
        config: The whole config.
        side: Height and width of the images.

    Returns:
        The loss, and the norm of the gradients of the backbone.

    Raises:
        Exception: Anything that the model raises; FloatingPointError where loss or gradients are not finite.
    """
    scope = config.get('default_scope') or 'mmengine'
    init_default_scope(scope)
    torch.manual_seed(0)
    cfg = _offline(ConfigDict(copy.deepcopy(config.model.to_dict())))
    if 'data_preprocessor' not in cfg and config.get('data_preprocessor'):
        cfg['data_preprocessor'] = _offline(config.data_preprocessor)
    if (cfg.get('data_preprocessor') or {}).get('size'):
        cfg['data_preprocessor']['size'] = (side, side)
    model = MODELS.build(copy.deepcopy(cfg))
    if callable(getattr(model, 'init_weights', None)):
        model.init_weights()
    model = _learner(model, cfg)
    model.train()
    # What the hooks of a run set: some heads ask for it.
    for counter in ('epoch', 'iter'):
        MessageHub.get_current_instance().update_info(counter, 0)
    data = model.data_preprocessor(batch_for(scope, cfg, model, side), training=True)
    losses = model(data['inputs'], data['data_samples'], mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    return _measure(model, float(total.detach()))


def _learner(model: nn.Module, cfg: Mapping) -> nn.Module:
    """The part that learns: the student of a semi-supervised detector, the detector of a tracker without a loss."""
    if hasattr(model, 'student'):
        model.student.data_preprocessor = model.data_preprocessor.data_preprocessor
        return model.student
    if type(model).__name__ in ('DeepSORT', 'StrongSORT', 'OCSORT', 'ByteTrack'):
        # The tracker prepares videos; its detector learns from images.
        model.detector.data_preprocessor = MODELS.build(dict(cfg['data_preprocessor'], use_det_processor=True))
        return model.detector
    return model


def _measure(model: nn.Module, loss: float) -> dict[str, float]:
    backbones = [part for name, part in model.named_modules() if name.rpartition('.')[2] == 'backbone']
    gradients = [p.grad for p in backbones[0].parameters() if p.grad is not None]
    everywhere = [p.grad for p in model.parameters() if p.grad is not None]
    norm = float(torch.stack([g.norm() for g in gradients]).norm()) if gradients else 0.0
    if not math.isfinite(loss) or not all(bool(g.isfinite().all()) for g in everywhere):
        raise FloatingPointError(f'loss = {loss}, gradients of the backbone = {norm}')
    if norm == 0:
        raise FloatingPointError('no gradient reaches the backbone')
    return dict(loss=loss, gradient=norm)


def _offline(node: Any) -> Any:
    """Settings without files to load, norms over several processes, padding to full size, and many proposals."""
    if isinstance(node, Mapping):
        changed = type(node)({key: _offline(value) for key, value in node.items() if key != 'batch_augments'})
        if isinstance(changed.get('init_cfg'), Mapping) and changed['init_cfg'].get('type') == 'Pretrained':
            changed['init_cfg'] = None
        if isinstance(changed.get('teacher_config'), str):
            # Such paths start at the folder of a copy of MMDetection.
            teacher = read_base('mmdet::' + changed['teacher_config'].removeprefix('configs/'))
            changed['teacher_config'] = dict(model=_offline(ConfigDict(teacher.config.model.to_dict())))
        for key in ('pretrained', 'teacher_ckpt'):
            if isinstance(changed.get(key), str):
                changed[key] = None
        if isinstance(changed.get('sampler'), Mapping) and 'num' in changed['sampler']:
            changed['sampler']['num'] = min(changed['sampler']['num'], BOXES)
        if isinstance(changed.get('rpn_proposal'), Mapping):
            changed['rpn_proposal']['max_per_img'] = BOXES
        if changed.get('type') in ('SyncBN', 'MMSyncBN'):
            changed['type'] = 'BN'
        return changed
    if isinstance(node, Sequence) and not isinstance(node, str):
        return type(node)(_offline(value) for value in node)
    return node
