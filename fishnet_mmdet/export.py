"""A FishNet, and the neck behind it, as an ONNX file for images of any number and size, checked against onnxruntime."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from fishnet_mmdet.fishnet import FishNet
from fishnet_mmdet.weights.fitting import fit
from fishnet_mmdet.weights.load import SCHEME, load_backbone, load_from_fishnet

PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')

OPSET = 18

CHECKED = ((1, 224, 320), (2, 320, 224), (1, 96, 96), (1, 131, 203))
"""Images (N, H, W) at which an exported file is held against torch, odd sides among them."""

TOLERANCE = 1e-4
"""Of the largest difference of a level, relative to its largest value."""


class ExportError(RuntimeError):
    """A network that cannot be exported, or a file that does not compute what the network does; the message says why."""


class Features(nn.Module):
    """Backbone and, if there is one, neck: from images to levels."""

    def __init__(self, backbone: FishNet, neck: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W), normalised as in training -> the levels."""
        levels = self.backbone(image)
        return levels if self.neck is None else self.neck(levels)


def features_of(config: str | None, arch: str | None, checkpoint: str, with_neck: bool = True) -> Features:
    """Builds what is to be exported, its weights read by our own reader, key by key.

    Args:
        config: A detector's config file, whose checkpoint it is; or None.
        arch: Without a config, a name of `ARCHS`; the checkpoint is then any file of FishNet weights.
        checkpoint: The file, or `fishnet://NAME`.
        with_neck: Whether the config's neck comes along.

    Raises:
        ExportError: A model without a FishNet.
        WeightsError: Weights that cannot be read or do not fit.
    """
    if config is None:
        backbone = FishNet(arch)
        backbone.load_state_dict(load_backbone(checkpoint, backbone.state_dict()))
        return Features(backbone).eval().requires_grad_(False)
    cfg = Config.fromfile(config)
    register_all_modules()
    model = MODELS.build(cfg.model)
    if not isinstance(getattr(model, 'backbone', None), FishNet):
        raise ExportError(f'{config}: its model has no FishNet as backbone')
    source = checkpoint if '://' in checkpoint else f'{SCHEME}{checkpoint}'
    state = load_from_fishnet(source, 'cpu')['state_dict']
    model.load_state_dict(fit(state, model.state_dict(), f'{checkpoint} does not fit the model of {config}'))
    neck = getattr(model, 'neck', None) if with_neck else None
    return Features(model.backbone, neck).eval().requires_grad_(False)


def export_onnx(features: Features, path: Path) -> None:
    """Writes an ONNX file whose input `image` has any N, H and W, its outputs `level0` and so on.

    Raises:
        ExportError: A package is missing, or the folder is not there.
    """
    if missing := [name for name in PACKAGES if not find_spec(name)]:
        raise ExportError(f"{', '.join(missing)} not installed: pip install 'fishnet-mmdet[export]'")
    if not path.resolve().parent.is_dir():
        raise ExportError(f'{path}: the folder {path.resolve().parent} does not exist')
    image = torch.randn(2, 3, 96, 160)  # no two sizes alike, or they would be taken for one
    any_size = torch.export.Dim.DYNAMIC
    with _quiet(), torch.no_grad():
        levels = len(features(image))
        torch.onnx.export(
            features,
            (image,),
            str(path),
            dynamo=True,
            input_names=['image'],
            output_names=[f'level{i}' for i in range(levels)],
            dynamic_shapes=({0: any_size, 2: any_size, 3: any_size},),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )


def differences(
    features: Features, path: Path, sizes: Sequence[tuple[int, int, int]] = CHECKED
) -> Iterator[tuple[str, float]]:
    """Runs a file in onnxruntime and the network in torch, at sizes (N, H, W).

    Returns:
        For each size its name, and the largest difference of any level, relative to that level's largest value.

    Raises:
        ExportError: The file fails at a size.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    for number, height, width in sizes:
        image = torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(0))
        name = f'{number} x {height} x {width}'
        try:
            found = session.run(None, {'image': image.numpy()})
        except Exception as error:  # onnxruntime raises kinds of its own
            raise ExportError(f'{path}: onnxruntime fails at {name}: {error}') from error
        with torch.no_grad():
            wanted = features(image)
        yield name, max(_difference(torch.from_numpy(a), b) for a, b in zip(found, wanted, strict=True))


def _difference(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float('inf')
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks of its own inner workings."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
