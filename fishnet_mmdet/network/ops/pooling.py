"""Max-pooling that keeps one byte for each output, not its input and an 8-byte index."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from fishnet_mmdet.network.ops.lean import keeps_for_backward
from fishnet_mmdet.network.ops.memory_format import memory_format_of


class LeanMaxPool2d(nn.MaxPool2d):
    """torch's square max-pool, the same bits forward and backward, with 1 byte an output kept for backward.

    It keeps the place of each maximum in its window. Torch keeps the place in the map, which takes 8 bytes, and the
    input.
    """

    def __init__(self, kernel_size: int, stride: int, padding: int = 0, ceil_mode: bool = False) -> None:
        if kernel_size > 16:
            raise ValueError(f'kernel_size = {kernel_size}: a window of over 16 x 16 does not fit into a byte')
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, h, w), h = (H + 2 padding - kernel_size) / stride + 1, rounded as `ceil_mode` says."""
        if keeps_for_backward(x):
            return ByteMaxPool.apply(x, self.kernel_size, self.stride, self.padding, self.ceil_mode)
        return super().forward(x)


class ByteMaxPool(torch.autograd.Function):
    """Max-pooling by torch's own kernels, its indices packed into bytes in between."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, kernel: int, stride: int, padding: int, ceil_mode: bool) -> Tensor:
        """Pools; the cells of each window are numbered from 0, and the number of the maximum is kept."""
        y, place = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True)
        corner, steps = _window(y.shape, x.shape, kernel, stride, padding, x.device)
        span = (kernel - 1) * (x.shape[-1] + 1) + 1  # places from the first cell of a window to its last
        cell_of = torch.zeros(span, dtype=torch.uint8, device=x.device)
        cell_of[steps] = torch.arange(len(steps), dtype=torch.uint8, device=x.device)
        ctx.save_for_backward(_look_up(cell_of, place.sub_(corner)))
        ctx.window = kernel, stride, padding, ceil_mode
        ctx.input_like = x.shape, x.dtype, memory_format_of(x)
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Hands each output's gradient to its maximum."""
        (cell,) = ctx.saved_tensors
        return ByteMaxUnpool.apply(grad, cell, ctx.window, ctx.input_like), None, None, None, None


class ByteMaxUnpool(torch.autograd.Function):
    """The backward pass of `ByteMaxPool`, which can be differentiated too."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        grad: Tensor,
        cell: Tensor,
        window: tuple[int, int, int, bool],
        input_like: tuple[torch.Size, torch.dtype, torch.memory_format],
    ) -> Tensor:
        """Turns the cells back into places and hands them to torch's own backward."""
        ctx.save_for_backward(cell)
        ctx.window, ctx.shape = window, input_like[0]
        kernel, stride, padding, ceil_mode = window
        shape, dtype, memory_format = input_like
        # torch's backward reads only shape and memory format of its input; the values of this one do not matter.
        x = torch.empty(shape, dtype=dtype, device=grad.device, memory_format=memory_format)
        return torch.ops.aten.max_pool2d_with_indices_backward(
            grad, x, [kernel] * 2, [stride] * 2, [padding] * 2, [1, 1], ceil_mode, _places(cell, window, shape)
        )

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Takes the gradient at each maximum."""
        (cell,) = ctx.saved_tensors
        place = _places(cell, ctx.window, ctx.shape)
        return grad.flatten(-2).gather(-1, place.flatten(-2)).view(place.shape), None, None, None


def _places(cell: Tensor, window: tuple[int, int, int, bool], shape: torch.Size) -> Tensor:
    """The place of each maximum in the flat map, from its cell in the window."""
    corner, steps = _window(cell.shape, shape, *window[:3], cell.device)
    return _look_up(steps, cell.int()).add_(corner)


def _window(
    pooled: torch.Size, map_: torch.Size, kernel: int, stride: int, padding: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """First place of each window in the flat map, (h, w), and the steps from there to its cells, (kernel^2,)."""
    width = map_[-1]
    rows, columns = (torch.arange(n, device=device) * stride - padding for n in pooled[-2:])
    cells = torch.arange(kernel, device=device)
    return rows[:, None] * width + columns, (cells[:, None] * width + cells).flatten()


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    """`table[index]` in the memory format of `index`, in a third of the time on a CPU."""
    flat = index.as_strided((index.numel(),), (1,))  # a dense tensor in the order of memory
    return table.index_select(0, flat).as_strided(index.shape, index.stride())
