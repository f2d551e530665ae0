"""Backbone and neck of a detector computed by OpenVINO, on a CPU."""

import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.deploy.onnx_file import write_onnx

PRECISIONS = {torch.float32: 'f32', torch.bfloat16: 'bf16'}
"""OpenVINO's name of each number format that its CPU kernels compute in."""


class OpenVinoForm(nn.Module):
    """A backbone, or a backbone and its neck, compiled by OpenVINO for images of any size.

    Args:
        network: From an image to feature maps, on the CPU, in eval mode and without gradients. It is not kept.
        dtype: `torch.float32` or `torch.bfloat16`.

    Raises:
        ConfigError: OpenVINO is not installed, or cannot compute in this dtype here, or the network is on a GPU.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        check_openvino(dtype)
        device = next(network.parameters()).device
        if device.type != 'cpu':
            raise ConfigError(
                f'OpenVINO computes on the CPU, and the model is on {device}: infer with --device cpu, test with '
                'CUDA_VISIBLE_DEVICES=-1 in the environment'
            )
        import openvino

        core = openvino.Core()
        settings = dict(
            PERFORMANCE_HINT='LATENCY',
            NUM_STREAMS=1,
            INFERENCE_NUM_THREADS=torch.get_num_threads(),
            INFERENCE_PRECISION_HINT=PRECISIONS[dtype],
        )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / 'network.onnx'
            write_onnx(network, file)
            self.request: Any = core.compile_model(core.read_model(file), 'CPU', settings).create_infer_request()
        self.eval()

    @torch.no_grad()
    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Computes the feature maps.

        Args:
            image: (N, 3, H, W) float32, on the CPU, in any memory format.

        Returns:
            The network's feature maps, float32 and contiguous.
        """
        self.request.infer({'image': image.float().contiguous().numpy()}, share_inputs=True, share_outputs=True)
        # The next image overwrites the arrays of the request.
        return tuple(torch.from_numpy(np.array(tensor.data)) for tensor in self.request.output_tensors)


def check_openvino(dtype: torch.dtype) -> None:
    """Checks, before any work is done, that OpenVINO can compute in a dtype here.

    Raises:
        ConfigError: It or onnx is not installed or is broken, or it cannot.
    """
    # torch writes the file that OpenVINO reads with the package onnx.
    if missing := [name for name in ('openvino', 'onnx') if find_spec(name) is None]:
        raise ConfigError(f'not installed: {" and ".join(missing)}. pip install {" ".join(missing)}')
    for name in ('openvino', 'onnx'):
        try:
            import_module(name)
        # A library that it needs may be missing or of another version, which has errors of any type.
        except Exception as error:
            reason = f'{type(error).__name__}: {error}'
            raise ConfigError(
                f'{name} is installed and cannot be imported ({reason}). pip install --force-reinstall {name}'
            ) from error
    if dtype not in PRECISIONS:
        raise ConfigError(f'dtype = {dtype} must be torch.float32 or torch.bfloat16 in OpenVINO')
    import openvino

    if dtype is torch.bfloat16 and 'BF16' not in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        raise ConfigError('OpenVINO finds no instructions for bfloat16 in this processor: use float32')
