"""Optimizes a trained FishNet for inference: norms folded, channels-last memory, a smaller dtype, compilation."""

import copy
import logging
from collections.abc import Mapping
from typing import Literal

import torch
from mmcv.cnn import ConvModule
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.deploy.openvino_form import OpenVinoForm, check_openvino
from fishnet_mmdet.network.blocks import Bottleneck
from fishnet_mmdet.network.classifier import FishNetNeck
from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.network.ops.memory_format import models_with_backbone, operations_of_mmcv, to_channels_last
from fishnet_mmdet.network.stages import Bridge, ConvNormReLU

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}

RUNTIMES = ('torch', 'openvino')

FORMS: dict[str, dict] = {
    **{name: dict(dtype=dtype) for name, dtype in DTYPES.items()},
    'openvino': dict(runtime='openvino'),
    'openvino-bfloat16': dict(dtype=torch.bfloat16, runtime='openvino'),
}
"""Arguments of `optimize_for_inference` by the name of a form: what `--optimize` takes."""


def optimize_for_inference(
    model: nn.Module,
    dtype: torch.dtype = torch.float32,
    compile: bool | Mapping = False,
    runtime: Literal['torch', 'openvino'] = 'torch',
) -> nn.Module:
    """Makes a copy of a FishNet, or of a model with one as its backbone, for fast inference.

    A norm whose only input is the output of a convolution is folded into this convolution. That holds for two of three
    norms; the norm at the beginning of a bottleneck follows a sum and stays. Weights and feature maps are in
    channels_last memory format. In a detector (or a model of mmpretrain or mmsegmentation) the backbone and the neck
    change. The heads still receive contiguous float32 feature maps.

    Args:
        model: A `FishNet`, or a model with one as its `backbone`, or a wrapper of such models, such as mmdet's
            SoftTeacher. It is not changed.
        dtype: Dtype in which backbone and neck compute. Images are still float32, and so are the features that come
            out. Those of a FishNet alone are in channels_last, because converting them would cost what folding saves.
        compile: Whether to compile the backbone with its weights as constants, or options of `torch.compile`. The first
            image takes minutes, and so does the first one of another size; further sizes take no time.
        runtime: What computes backbone and neck: torch, or OpenVINO (CPUs; docs/benchmark.md compares them).
            OpenVINO folds the norms and chooses the memory format itself, and the features of a FishNet alone are
            contiguous. A neck that it cannot compute, such as one of deformable convolutions, stays in torch.

    Returns:
        The copy, in eval mode, for `torch.no_grad()` or `torch.inference_mode()`. With OpenVINO it cannot be copied or
        saved, and backbone and neck are one module.

    Raises:
        ConfigError: The model has no FishNet, or the dtype is not supported, or not with this runtime; OpenVINO is not
            installed, or the model is on a GPU.
    """
    if dtype not in DTYPES.values():
        raise ConfigError(f'dtype = {dtype!r} must be one of {", ".join(f"torch.{name}" for name in DTYPES)}')
    if runtime not in RUNTIMES:
        raise ConfigError(f'runtime = {runtime!r} must be one of {", ".join(RUNTIMES)}')
    if not isinstance(model, FishNet) and not _fish_models(model):
        raise ConfigError(f'{type(model).__name__} is not a FishNet and has none as its backbone')
    if runtime == 'openvino':
        if compile is not False:
            raise ConfigError('compile is for torch, OpenVINO compiles by itself: leave one of them out')
        check_openvino(dtype)
    elif dtype is torch.float16 and next(model.parameters()).device.type == 'cpu':
        raise ConfigError('dtype = torch.float16 is for GPUs; on a CPU use torch.bfloat16')
    model = copy.deepcopy(model).eval().requires_grad_(False)
    return _in_openvino(model, dtype) if runtime == 'openvino' else _in_torch(model, dtype, compile)


def arguments_of(form: str) -> dict:
    """The arguments of `optimize_for_inference` for a form that `--optimize` names.

    Raises:
        ConfigError: There is no such form, or it needs OpenVINO, which is not installed or cannot compute it here.
    """
    if form not in FORMS:
        raise ConfigError(f'optimize={form!r} must be one of {", ".join(FORMS)}')
    arguments = FORMS[form]
    if arguments.get('runtime') == 'openvino':
        check_openvino(arguments.get('dtype', torch.float32))
    return arguments


def _in_openvino(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    if isinstance(model, FishNet):
        return OpenVinoForm(model, dtype)
    for each in _fish_models(model):
        neck = getattr(each, 'neck', None)
        if neck is None:
            each.backbone = OpenVinoForm(each.backbone, dtype)
            continue
        try:
            each.backbone, each.neck = OpenVinoForm(nn.Sequential(each.backbone, neck).eval(), dtype), nn.Identity()
        except RuntimeError as error:
            text = f'OpenVINO cannot compute the neck, which stays in torch. {_reason(error)}'
            print_log(text, logger='current', level=logging.WARNING)
            each.backbone, each.neck = OpenVinoForm(each.backbone, dtype), InferenceForm(_folded(neck), dtype)
    return model


def _reason(error: RuntimeError) -> str:
    """The line of OpenVINO's message that names the operations, or else its last one."""
    lines = [line.removeprefix('-- ') for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith('No conversion rule')), lines[-1])


def _in_torch(model: nn.Module, dtype: torch.dtype, compile: bool | Mapping) -> nn.Module:
    if isinstance(model, FishNet):
        return InferenceForm(_folded(model), dtype, compile, out_format=torch.channels_last)
    for each in _fish_models(model):
        neck = getattr(each, 'neck', None)
        out_format = torch.contiguous_format if neck is None else None
        each.backbone = InferenceForm(_folded(each.backbone), dtype, compile, out_format)
        if neck is not None:
            each.neck = InferenceForm(_folded(neck), dtype)
    return model


def _fish_models(model: nn.Module) -> list[nn.Module]:
    return [each for each in models_with_backbone(model) if isinstance(each.backbone, FishNet)]


class InferenceForm(nn.Module):
    """A network that computes in its own dtype and in channels_last, independently of the modules around it.

    Args:
        network: The network; it is converted in place. Its remaining BatchNorms stay float32.
        dtype: Dtype of its convolutions. A network with operations of mmcv, such as deformable convolutions, computes
            in float32, because few of them support another dtype.
        compile: As in `optimize_for_inference`, if the network is a `FishNet`.
        out_format: Memory format of the float32 feature maps that it returns; None returns them as they are computed.
    """

    def __init__(
        self,
        network: nn.Module,
        dtype: torch.dtype,
        compile: bool | Mapping = False,
        out_format: torch.memory_format | None = torch.contiguous_format,
    ) -> None:
        super().__init__()
        if operations_of_mmcv(network):
            dtype = torch.float32
        for module in network.modules():
            if not isinstance(module, _BatchNorm):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
        to_channels_last(network, network)
        self.network = network
        self.dtype = dtype
        self.out_format = out_format
        if compile is not False:
            options = dict(compile) if isinstance(compile, Mapping) else {}
            # torch.compile accepts a mode or options, not both.
            if 'mode' not in options:
                options['options'] = {'freezing': True, **options.get('options', {})}
            network.compile_parts(options)
        self.eval()

    @torch.no_grad()
    def forward(self, x: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        """Computes the network's feature maps.

        Args:
            x: One or several feature maps (N, C, H, W), of any floating dtype and memory format.

        Returns:
            The network's feature maps.
        """
        y = self.network(_converted(x, self.dtype, torch.channels_last))
        return y if self.out_format is None else _converted(y, torch.float32, self.out_format)


def _converted(
    x: Tensor | tuple[Tensor, ...], dtype: torch.dtype, memory_format: torch.memory_format
) -> Tensor | tuple[Tensor, ...]:
    if isinstance(x, Tensor):
        return x.to(dtype).contiguous(memory_format=memory_format) if x.dim() == 4 else x.to(dtype)
    return tuple(_converted(each, dtype, memory_format) for each in x)


def _folded(network: nn.Module) -> nn.Module:
    """Folds, in place, every BatchNorm whose only input is the output of a convolution."""
    for part in list(network.modules()):
        if isinstance(part, ConvNormReLU):
            _fold(part.conv, part)
        elif isinstance(part, Bottleneck):
            _fold(part.squeeze.conv, part.conv)
            _fold(part.conv.conv, part.expand)
        elif isinstance(part, Bridge):
            _fold(part.squeeze.conv, part.expand)
        elif isinstance(part, FishNetNeck):
            _fold(part.squeeze.conv, part)
        elif isinstance(part, ConvModule) and part.with_norm and part.order[:2] == ('conv', 'norm'):
            # Such as a convolution of FPN.
            _fold(part.conv, part, part.norm_name)
    return network


def _fold(conv: nn.Module, after: nn.Module, name: str = 'norm') -> None:
    """Folds the norm of a module into the weights of the convolution before it."""
    norm = getattr(after, name)
    if not (isinstance(norm, _BatchNorm) and norm.running_mean is not None):
        # Other norms, such as GroupNorm, use statistics of each image.
        return
    if type(conv) is not nn.Conv2d or getattr(after, 'with_spectral_norm', False):
        # Other convolutions compute their weights in every forward, or are transposed or deformable.
        return
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double() + norm.bias.double()
    bias = shift if conv.bias is None else conv.bias.double() * scale + shift
    conv.weight.data = (conv.weight.double() * scale[:, None, None, None]).to(conv.weight.dtype)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    setattr(after, name, nn.Identity())


class TestOptimized(Hook):
    """Optimizes a runner's model for inference before it is tested, for `fishnet-mmdet test --optimize`.

    Args:
        form: A key of `FORMS`.
        compile: Whether to compile the backbone, with dynamic shapes, because images differ in size.

    Raises:
        ConfigError: As `arguments_of`.
    """

    def __init__(self, form: str, compile: bool = False) -> None:
        self.form = form
        self.arguments = {**arguments_of(form), **(dict(compile=dict(dynamic=True)) if compile else {})}

    def __str__(self) -> str:
        return f'backbone and neck in the form {self.form}'

    def before_test(self, runner: Runner) -> None:
        """Replaces the model. Its weights are loaded by now."""
        holder, name = runner, 'model'
        # The model may be wrapped, for several processes and for test-time augmentation.
        while is_model_wrapper(model := getattr(holder, name)) or isinstance(model, BaseTTAModel):
            holder, name = model, 'module'
        setattr(holder, name, optimize_for_inference(model, **self.arguments))
