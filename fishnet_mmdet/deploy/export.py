"""A trained FishNet, with its neck, as an ONNX file for images of any size, checked against what it was made from."""

import copy
import os
import tempfile
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.registry import MODELS, DefaultScope
from rich.table import Table
from torch import Tensor, nn

from fishnet_mmdet.errors import UserError
from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.training.launch import read_config
from fishnet_mmdet.weights.fitting import fit
from fishnet_mmdet.weights.load import load_backbone, load_from_fishnet

OPSET = 17
"""Every runtime since 2022 knows it, and nothing later is needed."""

EXAMPLE = (2, 64, 96)
SIZES = ((1, 64, 64), (2, 160, 96), (1, 75, 130), (3, 97, 65), (1, 225, 333))
"""Batch, height and width of the images that a file is traced with, and of those that it is checked with: none the same."""

TOLERANCE = 1e-4


class ExportError(UserError, RuntimeError):
    """What cannot be exported; the message names it, its value and what to do."""


def check_target(target: Path, overwrite: bool) -> None:
    """Refuses what could not be written, or not be checked, before any work is done.

    Raises:
        ExportError: A wrong ending, a file that is there, a folder that is not or takes no file, a package that is missing.
    """
    folder = target.resolve().parent
    if target.suffix != '.onnx':
        raise ExportError(f'{target}: the file to write must end in .onnx')
    if not folder.is_dir():
        raise ExportError(f'{target}: the folder {folder} does not exist; make it first')
    if target.is_dir() or not os.access(folder, os.W_OK):
        raise ExportError(f'{target} cannot be written: name a file in a folder that you may write to')
    if target.exists() and not overwrite:
        raise ExportError(f'{target} is there already: name another file, or say --overwrite')
    if missing := [name for name in ('onnx', 'onnxruntime') if find_spec(name) is None]:
        raise ExportError(f'{" and ".join(missing)} missing: pip install {" ".join(missing)}')


def read_network(
    what: str, checkpoint: str, options: Mapping | None = None, backbone_only: bool = False
) -> nn.Sequential:
    """Builds a backbone, and a config's neck, with trained weights.

    Args:
        what: A config file (.py), or a layout (`fishnet150`) for the bare backbone.
        checkpoint: Weights that fit key for key: of a config those of its whole model, of a layout any FishNet's.
        options: Settings to lay over the config's.
        backbone_only: Whether to leave out the config's neck.

    Raises:
        PreflightError: A config that is not there or cannot be read.
        WeightsError: Weights that cannot be had or read, or do not fit.
        ExportError: No such layout, or a config without a FishNet.
    """
    if not what.endswith('.py'):
        try:
            backbone = FishNet(what)
        except ValueError as error:
            raise ExportError(f'{error}; or give a config file (.py)') from error
        backbone.load_state_dict(load_backbone(checkpoint, backbone.state_dict()))
        return nn.Sequential(backbone)

    cfg = read_config(what, options)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = MODELS.build(cfg.model)
    if not isinstance(getattr(model, 'backbone', None), FishNet):
        raise ExportError(f'{what}: the {type(model).__name__} has no FishNet as its backbone')
    state = load_from_fishnet(checkpoint)['state_dict']
    model.load_state_dict(fit(state, model.state_dict(), f'{checkpoint} does not fit {what}'))
    neck = None if backbone_only else getattr(model, 'neck', None)
    return nn.Sequential(model.backbone, *([] if neck is None else [neck]))


def export(network: nn.Module, target: Path, tolerance: float = TOLERANCE) -> dict[tuple[int, int, int], float]:
    """Writes an ONNX file of a network and checks it; a file that is not right, or not made, leaves nothing behind.

    The file takes `image` (N, channels, H, W), float32, of any N, H and W; its outputs are `level0`, `level1`, ...

    Args:
        network: What `read_network` built, or any network of images. It is left as it is.
        target: The file; `check_target` says whether it can be written.
        tolerance: How far the file may be off anywhere, as a share of the largest value of a level.

    Returns:
        By batch, height and width, how far it is off.

    Raises:
        ExportError: It is off by more at some size.
    """
    # Of a compiled network the copy is not. Without gradients, the backbone is torch's own operations alone.
    network = copy.deepcopy(network).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory(dir=target.resolve().parent, prefix='.export-') as folder:
        draft = Path(folder) / target.name
        _write(network, draft)
        differences = _differences(network, draft)
        wrong = {size: off for size, off in differences.items() if not off <= tolerance}  # NaN is wrong too
        if wrong:
            (n, h, w), off = next(iter(wrong.items()))
            raise ExportError(
                f'{target} is not written: onnxruntime is off by {off:.1e} of the largest value at {n} x {h} x {w} '
                f'(batch, height, width), more than the tolerance of {tolerance:g}, and at {len(wrong) - 1} other sizes'
            )
        draft.replace(target)
    return differences


def difference_table(differences: Mapping[tuple[int, int, int], float]) -> Table:
    """What `export` returns, as a table."""
    table = Table('batch', 'height', 'width', 'largest difference / largest value')
    for size, off in differences.items():
        table.add_row(*map(str, size), f'{off:.1e}')
    return table


def _write(network: nn.Module, path: Path) -> None:
    image = _images(network, EXAMPLE)
    with torch.no_grad(), warnings.catch_warnings():
        levels = network(image)
        names = [f'level{i}' for i in range(len(levels))]
        axes = {
            name: {0: 'batch', **({2: f'height{i}', 3: f'width{i}'} if level.dim() == 4 else {})}
            for i, (name, level) in enumerate(zip(names, levels, strict=True))
        }
        # That the tracer sees one size only is what the check at other sizes is for.
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        warnings.simplefilter('ignore', DeprecationWarning)
        # By tracing: torch.export reasons about sizes as formulas, which grow with the fish, for the same graph.
        torch.onnx.export(
            network,
            (image,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=['image'],
            output_names=names,
            dynamic_axes={'image': {0: 'batch', 2: 'height', 3: 'width'}, **axes},
        )


def _differences(network: nn.Module, path: Path) -> dict[tuple[int, int, int], float]:
    import onnxruntime  # an extra: nothing else needs it

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    differences = {}
    for size in SIZES:
        image = _images(network, size)
        with torch.no_grad():
            ours = network(image)
        theirs = session.run(None, {'image': image.numpy()})
        differences[size] = max(_off(torch.from_numpy(b), a) for a, b in zip(ours, theirs, strict=True))
    return differences


def _images(network: nn.Module, size: tuple[int, int, int]) -> Tensor:
    """Noise as wide as normalised images, in as many channels as the network's first convolution takes."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    n, height, width = size
    return torch.randn(n, first.in_channels, height, width, generator=torch.Generator().manual_seed(0))


def _off(value: Tensor, reference: Tensor) -> float:
    if value.shape != reference.shape:
        return float('inf')
    return ((value - reference).abs().max() / reference.abs().max()).item()
