"""Exports a trained FishNet, with its neck, to an ONNX file for images of any size, and checks the file."""

import copy
import os
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.registry import MODELS, DefaultScope
from rich.table import Table
from torch import Tensor, nn

from fishnet_mmdet.base.config_files import config_names
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.deploy.onnx_file import noise, write_onnx
from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.training.launch import read_config
from fishnet_mmdet.training.launch.runner import config_mistakes
from fishnet_mmdet.weights.fitting import fit
from fishnet_mmdet.weights.load import load_backbone, load_from_fishnet

SIZES = ((1, 64, 64), (2, 160, 96), (1, 75, 130), (3, 97, 65), (1, 225, 333))
"""Batch, height and width of the images that the file is checked with, all different from EXAMPLE."""

TOLERANCE = 1e-4
"""Largest difference that is accepted by default, as a share of the largest value of a level."""


class ExportError(UserError, RuntimeError):
    """A network that cannot be exported, or not to this file; the message names the reason and the fix."""


def check_target(target: Path, overwrite: bool) -> None:
    """Checks, before any work is done, that a file can be written and then be checked.

    Args:
        target: The file to write.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ExportError: The ending is wrong, the file exists, its folder does not exist or is not writable, or onnx or
            onnxruntime is missing.
    """
    folder = target.resolve().parent
    if target.suffix != '.onnx':
        raise ExportError(f'{target}: the file to write must end in .onnx')
    if not folder.is_dir():
        raise ExportError(f'{target}: the folder {folder} does not exist; create it first')
    if target.is_dir() or not os.access(folder, os.W_OK):
        raise ExportError(f'{target} cannot be written: name a file in a folder that you may write to')
    if target.exists() and not overwrite:
        raise ExportError(f'{target} exists already: name another file, or add --overwrite')
    if missing := [name for name in ('onnx', 'onnxruntime') if find_spec(name) is None]:
        raise ExportError(f'{" and ".join(missing)} missing: pip install {" ".join(missing)}')


def read_network(
    source: str, checkpoint: str, options: Mapping | None = None, backbone_only: bool = False
) -> nn.Sequential:
    """Builds a backbone, and the neck of a config, with trained weights.

    Args:
        source: A config file (.py), the name of a config that ships, or the name of an architecture (`fishnet150`) for
            the backbone alone.
        checkpoint: Weights that fit key by key: for a config those of its whole model, for an architecture those of any
            FishNet.
        options: Settings that override the config.
        backbone_only: Whether to leave out the config's neck.

    Returns:
        The backbone, followed by the neck if there is one.

    Raises:
        PreflightError: The config cannot be found or read.
        WeightsError: The weights cannot be found, downloaded or read, or do not fit.
        ExportError: There is no such architecture, or the config's model has no FishNet.
    """
    if not source.endswith('.py') and source not in config_names():
        try:
            backbone = FishNet(source)
        except ValueError as error:
            raise ExportError(f'{error}; or give a config file (.py)') from error
        backbone.load_state_dict(load_backbone(checkpoint, backbone.state_dict()))
        return nn.Sequential(backbone)

    cfg = read_config(source, options)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')), config_mistakes(cfg):
        model = MODELS.build(cfg.model)
    if not isinstance(getattr(model, 'backbone', None), FishNet):
        raise ExportError(f'{source}: the backbone of {type(model).__name__} is not a FishNet')
    state = load_from_fishnet(checkpoint)['state_dict']
    model.load_state_dict(fit(state, model.state_dict(), f'{checkpoint} does not fit {source}'))
    neck = None if backbone_only else getattr(model, 'neck', None)
    return nn.Sequential(model.backbone, *([] if neck is None else [neck]))


def export(network: nn.Module, target: Path, tolerance: float = TOLERANCE) -> dict[tuple[int, int, int], float]:
    """Exports a network to an ONNX file and checks the file. A file that fails the check is removed.

    The input of the file is `image` (N, channels, H, W), float32, of any N, H and W; its outputs are `level0`,
    `level1`, ...

    Args:
        network: A network from `read_network`, or any other one whose input is an image. It is not changed.
        target: The file to write; see `check_target`.
        tolerance: Largest difference between onnxruntime and PyTorch that is accepted, as a share of the largest value
            of a level.

    Returns:
        The largest difference by batch, height and width.

    Raises:
        ExportError: The difference at some size is larger than the tolerance.
    """
    # The copy of a compiled network is not compiled. Without gradients, the backbone uses only operations of torch.
    network = copy.deepcopy(network).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory(dir=target.resolve().parent, prefix='.export-') as folder:
        draft = Path(folder) / target.name
        write_onnx(network, draft)
        differences = _differences(network, draft)
        # A difference of NaN is wrong too.
        wrong = {size: off for size, off in differences.items() if not off <= tolerance}
        if wrong:
            (n, h, w), off = next(iter(wrong.items()))
            raise ExportError(
                f'{target} is not written: onnxruntime is off by {off:.1e} of the largest value at {n} x {h} x {w} '
                f'(batch, height, width), more than the tolerance of {tolerance:g}, and at {len(wrong) - 1} other sizes'
            )
        draft.replace(target)
    return differences


def difference_table(differences: Mapping[tuple[int, int, int], float]) -> Table:
    """Shows the result of `export` as a table."""
    table = Table('batch', 'height', 'width', 'largest difference / largest value')
    for size, off in differences.items():
        table.add_row(*map(str, size), f'{off:.1e}')
    return table


def _differences(network: nn.Module, path: Path) -> dict[tuple[int, int, int], float]:
    # An optional dependency, which nothing else needs.
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    differences = {}
    for size in SIZES:
        image = noise(network, size)
        with torch.no_grad():
            ours = network(image)
        theirs = session.run(None, {'image': image.numpy()})
        differences[size] = max(_off(torch.from_numpy(b), a) for a, b in zip(ours, theirs, strict=True))
    return differences


def _off(value: Tensor, reference: Tensor) -> float:
    if value.shape != reference.shape:
        return float('inf')
    return ((value - reference).abs().max() / reference.abs().max()).item()
