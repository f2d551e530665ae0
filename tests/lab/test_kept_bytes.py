"""The bytes that a network keeps for its backward pass, against counts by hand and an independent count."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from fishnet_mmdet import FishNet
from fishnet_mmdet.lab.benchmark.contenders import Contender, build
from fishnet_mmdet.lab.benchmark.measure import BackboneStep
from fishnet_mmdet.lab.benchmark.memory import memory_of
from fishnet_mmdet.lab.benchmark.tasks import TASKS

MAP = 2 * 32 * 32 * 4  # bytes of a channel of the image below
NORM = 4 * 2  # bytes a channel that live BN keeps: mean and 1 / deviation of the batch


def image(channels=8):
    return torch.rand(2, channels, 32, 32)


def kept(work):
    work()
    return memory_of(work).kept


class Mask(torch.autograd.Function):
    """ReLU that keeps a byte for each number."""

    @staticmethod
    def forward(ctx, x):
        positive = x > 0
        ctx.save_for_backward(positive.to(torch.uint8))
        return x * positive

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


class AliveStorages(TorchDispatchMode):
    """An independent count: a weak reference to the storage of every output of every operation."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.seen[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        return out

    def alive(self, but):
        outside = {tensor.untyped_storage()._cdata for tensor in but}
        return sum(n for key, (ref, n) in self.seen.items() if key not in outside and not ref.expired())


class TestKeptBytes:
    def chain(self):
        return nn.Sequential(
            nn.Conv2d(8, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 4, 1, bias=False),
        )

    def test_a_chain_by_hand(self):
        """The input of BN; its output, which ReLU and the next convolution share; what is returned."""
        net, x = self.chain(), image()
        assert kept(lambda: net(x)) == (16 + 16 + 4) * MAP + 16 * NORM

    def test_relu_not_in_place_keeps_no_second_map(self):
        """torch's ReLU keeps its output, which is the convolution's input; BN does not need its own output."""
        net, x = self.chain(), image()
        net[2] = nn.ReLU()
        assert kept(lambda: net(x)) == (16 + 16 + 4) * MAP + 16 * NORM

    def test_without_a_graph_the_output_is_all(self):
        net, x = self.chain().eval(), image()
        with torch.no_grad():
            assert kept(lambda: net(x)) == 4 * MAP

    def test_what_a_checkpoint_holds(self):
        """Its input is an argument of a closure; where it was not there before, it counts."""
        net, x = self.chain(), image()
        again = partial(checkpoint, net, use_reentrant=False, preserve_rng_state=False)
        assert kept(lambda: again(x)) == 4 * MAP
        assert kept(lambda: again(x * 2)) == (8 + 4) * MAP

    def test_a_function_that_saves_bytes(self):
        conv, x = nn.Conv2d(8, 16, 1, bias=False), image()
        assert kept(lambda: Mask.apply(conv(x))) == 16 * MAP // 4 + 16 * MAP  # the mask; the output

    def test_a_graph_of_aot_autograd(self):
        net, x = self.chain(), image()
        compiled = torch.compile(net, backend='aot_eager')
        eager = kept(lambda: net(x))
        assert eager <= kept(lambda: compiled(x)) <= eager + 16 * MAP  # without in-place ReLU: BN's output too

    def test_an_output_counts_as_long_as_it_is_held(self):
        assert kept(lambda: image(4)) == 4 * MAP
        assert kept(lambda: image(4).sum()) == 4

    def test_what_backward_needs_without_what_is_returned(self):
        net, x = self.chain(), image()
        assert kept(lambda: net(x).grad_fn) == (16 + 16) * MAP + 16 * NORM
        step = BackboneStep(
            build(Contender('fishnet99', 'eager'), TASKS['fixed'], 'cpu'),
            TASKS['fixed'],
            torch.rand(1, 3, 64, 64),
        )
        levels = sum(level.nbytes for level in step.forward())
        assert kept(step.graph) < kept(step.forward) <= kept(step.graph) + levels

    def test_a_graph_that_ends_in_python(self):
        """As the graph of a compiled network does, or of one that changes the memory format last."""

        class Doubled(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return 2 * x

        net, x = self.chain(), image()
        step = BackboneStep(lambda image: (Doubled.apply(net(image)),), TASKS['fixed'], x)
        assert kept(step.graph) >= (16 + 16) * MAP

    def test_peak(self):
        x = image()
        memory = memory_of(lambda: (x + 1).exp().sum())
        assert memory.kept == 4 and memory.peak == 2 * 8 * MAP

    @pytest.mark.parametrize('with_cp', [False, 'norm', 'bottleneck', 'stage'])
    @pytest.mark.parametrize('fixed', [False, True])
    def test_agrees_with_an_independent_count(self, fixed, with_cp):
        norm = dict(norm_cfg=dict(type='BN', requires_grad=not fixed), norm_eval=fixed)
        net, x = FishNet('fishnet99', with_cp=with_cp, **norm).train(), torch.rand(1, 3, 64, 64)
        counted = kept(lambda: net(x))
        with AliveStorages() as storages:
            held = net(x)
        own = storages.alive([*net.parameters(), *net.buffers(), x])
        assert held and counted == pytest.approx(own, rel=1e-3)
