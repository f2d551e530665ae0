"""A trained FishNet in the form in which it infers fastest: norms folded, layout and number format set, compiled."""

import copy
from collections.abc import Mapping

import torch
from mmcv.cnn import ConvModule
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet.network.blocks import Bottleneck
from fishnet_mmdet.network.classifier import FishNetNeck
from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.network.stages import Bridge, ConvNormReLU

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def optimize_for_inference(
    model: nn.Module, dtype: torch.dtype = torch.float32, compile: bool | Mapping = False
) -> nn.Module:
    """Makes the form of a FishNet, or of any model around one, that infers fastest.

    Every norm that follows a convolution alone is folded into it (two of three: the norm that opens a bottleneck has a
    sum before it and stays); weights and maps lie in channels_last. Of a detector (or an mmpretrain or mmsegmentation
    model) it is the backbone and the neck that change; heads get the contiguous float32 maps that they got before.

    Args:
        model: A `FishNet`, or a model with one as its `backbone`. It is left as it is: the result is a copy.
        dtype: What backbone and neck compute in. float32 images go in and float32 features come out all the same; those
            of a bare FishNet in channels_last, as turning them over would cost what folding saves.
        compile: Whether to compile the backbone with its weights as constants, or options of `torch.compile`. The first
            image takes minutes; the next one of another size as long again, and then none.

    Returns:
        The copy, in eval mode, for `torch.no_grad()` or `torch.inference_mode()`.

    Raises:
        ValueError: A model without a FishNet, or a dtype that is not to be computed in here.
    """
    if dtype not in DTYPES.values():
        raise ValueError(f'dtype = {dtype!r} must be one of {", ".join(f"torch.{name}" for name in DTYPES)}')
    backbone = model if isinstance(model, FishNet) else getattr(model, 'backbone', None)
    if not isinstance(backbone, FishNet):
        raise ValueError(f'{type(model).__name__} is no FishNet and has none as its backbone')
    if dtype is torch.float16 and next(backbone.parameters()).device.type == 'cpu':
        raise ValueError('dtype = torch.float16 is for GPUs; on a CPU take torch.bfloat16')
    model = copy.deepcopy(model).eval().requires_grad_(False)
    if isinstance(model, FishNet):
        return InferenceForm(_folded(model), dtype, compile, gives=torch.channels_last)

    neck = getattr(model, 'neck', None)
    gives = torch.contiguous_format if neck is None else None
    model.backbone = InferenceForm(_folded(model.backbone), dtype, compile, gives)
    if neck is not None:
        model.neck = InferenceForm(_folded(neck), dtype)
    return model


class InferenceForm(nn.Module):
    """A network that computes in a number format of its own and in channels_last, whatever all around it does.

    Args:
        network: What computes; it is converted in place. BatchNorms that are left stay float32.
        dtype: Number format of its convolutions.
        compile: As in `optimize_for_inference`; for a `FishNet`.
        gives: Layout of the float32 maps that come out; None hands them on as they were computed.
    """

    def __init__(
        self,
        network: nn.Module,
        dtype: torch.dtype,
        compile: bool | Mapping = False,
        gives: torch.memory_format | None = torch.contiguous_format,
    ) -> None:
        super().__init__()
        for module in network.modules():
            if not isinstance(module, _BatchNorm):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
        self.network = network.to(memory_format=torch.channels_last)
        self.dtype = dtype
        self.gives = gives
        if compile is not False:
            options = dict(compile) if isinstance(compile, Mapping) else {}
            if 'mode' not in options:  # torch takes a mode or options, not both
                options['options'] = {'freezing': True, **options.get('options', {})}
            network.compile_parts(options)
        self.eval()

    @torch.no_grad()
    def forward(self, x: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        """Maps (N, C, H, W) of any floating format and layout -> those of the network."""
        y = self.network(_converted(x, self.dtype, torch.channels_last))
        return y if self.gives is None else _converted(y, torch.float32, self.gives)


def _converted(
    x: Tensor | tuple[Tensor, ...], dtype: torch.dtype, layout: torch.memory_format
) -> Tensor | tuple[Tensor, ...]:
    if isinstance(x, Tensor):
        return x.to(dtype).contiguous(memory_format=layout) if x.dim() == 4 else x.to(dtype)
    return tuple(_converted(each, dtype, layout) for each in x)


def _folded(network: nn.Module) -> nn.Module:
    """Folds, in place, every BatchNorm that follows a convolution and nothing else does."""
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
            _fold(part.conv, part, part.norm_name)  # of FPN, say
    return network


def _fold(conv: nn.Module, after: nn.Module, name: str = 'norm') -> None:
    """Takes a norm of the part after a convolution into the convolution's weights."""
    norm = getattr(after, name)
    if not (isinstance(norm, _BatchNorm) and norm.running_mean is not None):
        return  # GN, say, has statistics of each image
    if type(conv) is not nn.Conv2d or getattr(after, 'with_spectral_norm', False):
        return  # what computes its weights anew (or is transposed, or deformable) would undo it
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double() + norm.bias.double()
    bias = shift if conv.bias is None else conv.bias.double() * scale + shift
    conv.weight.data = (conv.weight.double() * scale[:, None, None, None]).to(conv.weight.dtype)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    setattr(after, name, nn.Identity())


class TestOptimized(Hook):
    """Puts a runner's model into its form for inference before it is tested; `tools/test.py --optimize`.

    Args:
        dtype: As in `optimize_for_inference`, like compile.
        compile: Sizes change from image to image here, so that the compiler is told at once.
    """

    def __init__(self, dtype: torch.dtype, compile: bool = False) -> None:
        self.dtype, self.compile = dtype, dict(dynamic=True) if compile else False

    def before_test(self, runner: Runner) -> None:
        """Weights are loaded by now."""
        holder, name = runner, 'model'
        # Several processes wrap the model, and test-time augmentation does.
        while is_model_wrapper(model := getattr(holder, name)) or isinstance(model, BaseTTAModel):
            holder, name = model, 'module'
        setattr(holder, name, optimize_for_inference(model, self.dtype, self.compile))
