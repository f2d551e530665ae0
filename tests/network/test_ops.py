"""The lean operations against torch's plain modules: the same results from less that is kept for backward."""

import copy
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from ops_case import LAYOUTS, kept_by, leaf, norm_of, same
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from fishnet_mmdet.network.ops.channel_sum import channel_sum
from fishnet_mmdet.network.ops.memory_format import memory_format_of
from fishnet_mmdet.network.ops.norm_relu import is_fixed, norm_relu
from fishnet_mmdet.network.ops.pooling import LeanMaxPool2d

SPECIAL = [float('nan'), float('inf'), -float('inf'), 0.0, -0.0]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class TestNormReLU:
    @pytest.mark.parametrize('layout', LAYOUTS)
    @pytest.mark.parametrize('affine', [True, False])
    def test_equals_torch(self, layout, affine):
        norm = norm_of(affine=affine)
        x = leaf(2, 6, 7, 9, layout=layout)
        lean, plain = norm_relu(norm, x), F.relu(norm(x))
        assert 'FixedNormReLU' in type(lean.grad_fn).__name__
        assert torch.equal(lean, plain) and lean.stride() == plain.stride()
        out = torch.randn_like(plain)
        ours, theirs = (torch.autograd.grad(y, x, out)[0] for y in (lean, plain))
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
        assert torch.equal(ours == 0, theirs == 0) and ours.stride() == theirs.stride()

    def test_nan_and_infinity_pass_as_in_torch(self):
        norm = norm_of(1)
        x = torch.tensor(SPECIAL + [3.0, -3.0]).view(1, 1, 1, -1).requires_grad_()
        lean, plain = norm_relu(norm, x), F.relu(norm(x))
        assert same(lean, plain)
        for grad in (1.0, float('nan'), float('inf')):
            ours, theirs = (
                torch.autograd.grad(y, x, torch.full_like(y, grad), retain_graph=True)[0] for y in (lean, plain)
            )
            torch.testing.assert_close(ours, theirs, equal_nan=True)

    def test_first_and_second_derivatives(self):
        norm, x = norm_of().double(), leaf(2, 6, 3, 4, dtype=torch.float64)
        assert gradcheck(lambda x: norm_relu(norm, x), x)
        assert gradgradcheck(lambda x: norm_relu(norm, x), x)

    @pytest.mark.parametrize('layout', LAYOUTS)
    def test_group_norm_behind_frozen_parts(self, layout):
        """Torch 2.11 ends the process in the backward of a map in channels_last that needs no gradient."""
        norm, x = nn.GroupNorm(2, 6), leaf(2, 6, 10, 10, layout=layout).detach()
        norm_relu(norm, x).sum().backward()
        ours = norm.weight.grad.clone()
        norm.zero_grad()
        F.relu(norm(x.contiguous())).sum().backward()
        torch.testing.assert_close(ours, norm.weight.grad)
        with torch.no_grad():
            assert norm_relu(norm, x).stride() == x.stride()  # inference keeps the memory format

    def test_keeps_what_the_convolution_keeps_and_a_scale(self):
        norm, conv, x = norm_of(64), nn.Conv2d(64, 8, 1), leaf(2, 64, 8, 8)
        own = {p.untyped_storage().data_ptr() for p in (*conv.parameters(), x)}
        kept, _ = kept_by(lambda: conv(norm_relu(norm, x)))
        assert sorted(t.numel() for t in kept if t.data_ptr() not in own) == [64, x.numel()]
        plain, _ = kept_by(lambda: conv(F.relu(norm(x))))
        assert x.data_ptr() in {t.data_ptr() for t in plain}  # torch holds the input too
        assert x.data_ptr() not in {t.data_ptr() for t in kept}

    @pytest.mark.parametrize('wide_input', [False, True])
    def test_under_amp_as_exact_as_torch(self, wide_input):
        norm, conv = norm_of(16), nn.Conv2d(16, 16, 3)
        x = leaf(2, 16, 9, 9, dtype=torch.float32 if wide_input else torch.bfloat16)
        exact = x.detach().double().requires_grad_()
        out = torch.randn(2, 16, 7, 7)
        norm64, conv64 = copy.deepcopy(norm).double(), copy.deepcopy(conv).double()
        (truth,) = torch.autograd.grad(conv64(F.relu(norm64(exact))), exact, out.double())
        errors = []
        for act in (lambda: norm_relu(norm, x), lambda: F.relu(norm(x))):
            with torch.autocast('cpu', torch.bfloat16):
                y = conv(act())
            (grad,) = torch.autograd.grad(y, x, out.to(y.dtype))
            assert grad.dtype == x.dtype
            errors.append((grad.double() - truth).norm() / truth.norm())
        assert errors[0] <= 1.01 * errors[1] < 0.02

    @pytest.mark.parametrize(
        'norm',
        [
            norm_of(live=True),
            norm_of(learns=True),
            norm_of(live=True, learns=True),
            norm_of(track_running_stats=False),
            nn.GroupNorm(2, 6).requires_grad_(False).eval(),
        ],
        ids=['live', 'affine learns', 'both', 'no statistics', 'GN'],
    )
    def test_other_norms_take_torch_s_path(self, norm):
        assert not is_fixed(norm)
        x, again = leaf(2, 6, 5, 5), copy.deepcopy(norm)
        ours, theirs = norm_relu(norm, x), F.relu(again(x))
        assert 'Relu' in type(ours.grad_fn).__name__ and torch.equal(ours, theirs)
        out = torch.randn_like(ours)
        assert torch.equal(torch.autograd.grad(ours, x, out)[0], torch.autograd.grad(theirs, x, out)[0])
        assert all(map(torch.equal, norm.buffers(), again.buffers()))

    def test_without_gradient(self):
        norm, x = norm_of(), leaf(2, 6, 5, 5)
        with torch.no_grad():
            assert torch.equal(norm_relu(norm, x), F.relu(norm(x)))
        assert norm_relu(norm, x.detach()).grad_fn is None


# Kernel, stride, padding.
WINDOWS = [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1), (5, 3, 2), (7, 1, 3), (16, 16, 0), (16, 5, 8)]


class TestLeanMaxPool2d:
    def agrees(self, x, window, **rounding):
        ours, theirs = LeanMaxPool2d(*window, **rounding), nn.MaxPool2d(*window, **rounding)
        lean, plain = ours(x), theirs(x)
        assert 'ByteMaxPool' in type(lean.grad_fn).__name__
        assert same(lean, plain) and lean.stride() == plain.stride()
        out = torch.randn_like(plain)
        a, b = (torch.autograd.grad(y, x, out)[0] for y in (lean, plain))
        assert torch.equal(a, b) and a.stride() == b.stride()

    @pytest.mark.parametrize('layout', LAYOUTS)
    @pytest.mark.parametrize('window', WINDOWS)
    def test_equals_torch(self, window, layout):
        for sides, dtype in product([(16, 16), (17, 23), (33, 19)], [torch.float32, torch.float64, torch.bfloat16]):
            self.agrees(leaf(2, 5, *sides, dtype=dtype, layout=layout), window)

    @pytest.mark.parametrize('layout', LAYOUTS)
    @pytest.mark.parametrize('window', WINDOWS)
    def test_ties_nan_and_infinity(self, window, layout):
        values = torch.tensor(SPECIAL + [1.0, 1.0, 2.0])
        for choice in (
            values,
            values[2:],
            torch.zeros(1),
            torch.tensor([-float('inf')]),
            torch.tensor([float('nan')]),
        ):
            x = choice[torch.randint(len(choice), (2, 4, 21, 18))].contiguous(memory_format=layout)
            self.agrees(x.requires_grad_(), window)

    @pytest.mark.parametrize('layout', LAYOUTS)
    @pytest.mark.parametrize('width', [255, 256, 257, 600])
    def test_wide_maps(self, width, layout):
        for window in ((2, 2, 0), (3, 2, 1), (16, 16, 8)):
            self.agrees(leaf(1, 2, 18, width, layout=layout), window)

    @pytest.mark.parametrize('shape', [(0, 3, 8, 8), (1, 3, 8, 8), (1, 1, 3, 9), (3, 8, 8), (2, 3, 1, 1), (2, 3, 2, 2)])
    def test_odd_shapes(self, shape):
        """No image, one, one channel, none but channels and sides, a map narrower than the window."""
        self.agrees(leaf(*shape), (3, 2, 1))

    def test_a_map_that_is_a_slice_or_a_transpose(self):
        for x in (torch.randn(2, 6, 20, 20)[:, ::2, 3:, 1:], torch.randn(2, 3, 9, 11).transpose(2, 3)):
            self.agrees(x.detach().requires_grad_(), (3, 2, 1))

    @pytest.mark.parametrize('layout', LAYOUTS)
    @pytest.mark.parametrize('sides', [(16, 16), (17, 23), (7, 1), (1, 8), (1, 1)])
    def test_rounded_up(self, sides, layout):
        """The last window of an odd side is incomplete."""
        for dtype in (torch.float32, torch.bfloat16):
            self.agrees(leaf(2, 5, *sides, dtype=dtype, layout=layout), (2, 2, 0), ceil_mode=True)

    def test_one_byte_an_output(self):
        x = leaf(2, 3, 32, 32)
        kept, y = kept_by(lambda: LeanMaxPool2d(2, 2)(x))
        assert [(t.dtype, t.shape) for t in kept] == [(torch.uint8, y.shape)]

    @pytest.mark.parametrize('window', [(2, 2, 0), (3, 2, 1), (16, 3, 4)])
    def test_gradcheck(self, window):
        x = torch.randperm(2 * 13 * 14, dtype=torch.float64).view(1, 2, 13, 14).requires_grad_()
        assert gradcheck(LeanMaxPool2d(*window), x)
        assert gradgradcheck(LeanMaxPool2d(*window), x)
        x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        assert gradgradcheck(LeanMaxPool2d(*window), x)

    def test_without_gradient(self):
        x = leaf(1, 2, 8, 8)
        with torch.no_grad():
            assert torch.equal(LeanMaxPool2d(2, 2)(x), F.max_pool2d(x, 2, 2))

    def test_a_window_that_does_not_fit_a_byte(self):
        with pytest.raises(ValueError, match='kernel_size = 17.*16 x 16'):
            LeanMaxPool2d(17, 2)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('k', [1, 2, 3, 4])
class TestChannelSum:
    def test_equals_torch_in_the_layout_of_its_input(self, k, layout):
        x = leaf(2, 12, 5, 7, layout=layout)
        ours, theirs = channel_sum(x, k), x.unflatten(1, (-1, k)).sum(2)
        assert torch.equal(ours, theirs) and memory_format_of(ours) == layout
        out = torch.randn_like(ours)
        a, b = (torch.autograd.grad(y, x, out)[0] for y in (ours, theirs))
        assert torch.equal(a, b) and memory_format_of(a) == layout
        with torch.no_grad():
            assert torch.equal(channel_sum(x, k), theirs) and memory_format_of(channel_sum(x, k)) == layout

    def test_keeps_nothing(self, k, layout):
        assert kept_by(lambda: channel_sum(leaf(2, 12, 5, 7, layout=layout), k))[0] == []

    def test_derivatives(self, k, layout):
        x = leaf(2, 12, 2, 3, layout=layout, dtype=torch.float64)
        assert gradcheck(lambda x: channel_sum(x, k), x)
        assert gradgradcheck(lambda x: channel_sum(x, k), x)


def test_channel_sum_takes_a_gradient_of_any_strides():
    x = leaf(2, 12, 5, 7, layout=torch.channels_last)
    (grad,) = torch.autograd.grad(channel_sum(x, 3).sum(), x)  # an expanded one
    assert torch.equal(grad, torch.ones_like(x))
