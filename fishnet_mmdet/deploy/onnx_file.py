"""Writing a network as an ONNX file for images of any size."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

OPSET = 17
"""Version of ONNX's operators. Every runtime since 2022 supports it, and nothing later is needed."""

EXAMPLE = (2, 64, 96)
"""Batch, height and width of the image that the network is traced with."""


def write_onnx(network: nn.Module, path: Path) -> None:
    """Writes a network as ONNX, as `export` does, but neither copies it nor checks the file.

    Args:
        network: In eval mode, without gradients.
        path: The file to write; it is replaced if it exists.
    """
    image = noise(network, EXAMPLE)
    with torch.no_grad(), warnings.catch_warnings():
        levels = network(image)
        names = [f'level{i}' for i in range(len(levels))]
        axes = {
            name: {0: 'batch', **({2: f'height{i}', 3: f'width{i}'} if level.dim() == 4 else {})}
            for i, (name, level) in enumerate(zip(names, levels, strict=True))
        }
        # The tracer warns that it sees only one size. The check at other sizes covers that.
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        warnings.simplefilter('ignore', DeprecationWarning)
        # By tracing (dynamo=False): torch.export gives the same graph, but its symbolic sizes grow with every stage.
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


def noise(network: nn.Module, size: tuple[int, int, int]) -> Tensor:
    """Images of noise with the range of normalized ones, and the channels of the network's first convolution.

    Args:
        network: A network with a convolution.
        size: Batch, height and width.
    """
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    n, height, width = size
    return torch.randn(n, first.in_channels, height, width, generator=torch.Generator().manual_seed(0))
