"""Max-pooling that keeps one byte for each output, not its input and an 8-byte index."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from fishnet_mmdet.ops.layout import layout_of


class LeanMaxPool2d(nn.MaxPool2d):
    """torch's square max-pool, the same bits forward and backward, with 1 byte an output kept for backward.

    What is kept is where in its window each maximum lay; torch keeps its place in the map (8 bytes), and the input.
    """

    def __init__(self, kernel_size: int, stride: int, padding: int = 0) -> None:
        if kernel_size > 16:
            raise ValueError(f'kernel_size = {kernel_size}: a window of over 16 x 16 does not fit into a byte')
        super().__init__(kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, (H + 2 padding - kernel_size) // stride + 1, the same of W)."""
        if x.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return ByteMaxPool.apply(x, self.kernel_size, self.stride, self.padding)
        return super().forward(x)


class ByteMaxPool(torch.autograd.Function):
    """Max-pooling by torch's own kernels, its indices packed into bytes in between."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        """Pools, and packs the places of the maxima."""
        y, place = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
        top, left = _window_corners(y, stride, padding)
        width = x.shape[-1]
        row = torch.div(place, width, rounding_mode='floor')
        ctx.save_for_backward(((row - top) * kernel + (place - row * width - left)).to(torch.uint8))
        ctx.window = kernel, stride, padding
        ctx.input_like = x.shape, x.dtype, layout_of(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Unpacks the places and hands them to torch's own backward."""
        (packed,) = ctx.saved_tensors
        kernel, stride, padding = ctx.window
        shape, dtype, layout = ctx.input_like
        top, left = _window_corners(grad, stride, padding)
        row = torch.div(packed, kernel, rounding_mode='floor')
        place = (top + row) * shape[-1] + left + (packed - row * kernel)
        # torch's backward asks its input for shape and layout only; this one is never touched.
        x = torch.empty(shape, dtype=dtype, device=grad.device, memory_format=layout)
        grad = torch.ops.aten.max_pool2d_with_indices_backward(
            grad, x, [kernel] * 2, [stride] * 2, [padding] * 2, [1, 1], False, place
        )
        return grad, None, None, None


def _window_corners(pooled: Tensor, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    """Row and column of each window's first cell in the input, as (H, 1) and (W,); padding makes some negative."""
    rows, columns = (torch.arange(n, device=pooled.device) * stride - padding for n in pooled.shape[-2:])
    return rows[:, None], columns

