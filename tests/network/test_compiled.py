"""Compilation changes what the backbone costs, not what it computes."""

import copy

import pytest
import torch
from lean_case import FIXED, LAYOUTS, build, image, joined, step
from seeded import relative_error, seed
from torch import nn

from fishnet_mmdet.lab.benchmark.memory import memory_of
from fishnet_mmdet.network.fishnet import RECOMPUTED
from fishnet_mmdet.network.stages import TailStage


class TestCompiled:
    def test_each_part_is_code_of_its_own(self):
        """What the compiler compiles of one counts towards the limit of that one alone."""
        net = build()
        parts = (net.stem, net.tail, net.bridge, net.body, net.head, net.tail[0], net.body[0], net.head[0])
        codes = [type(part).forward.__code__ for part in parts]
        assert len(set(codes)) == len(parts) and 'Stem.forward' in {code.co_name for code in codes}

    @pytest.mark.long
    @pytest.mark.parametrize('layout', LAYOUTS)
    def test_every_part_is_one_graph(self, layout):
        """No graph break with any option; the same numbers, as the operations stay torch's own."""
        torch.compiler.reset()
        plain = build(LAYOUTS[layout], channels_last=True, **FIXED).train()
        options = dict(backend='eager', fullgraph=True)
        net = build(LAYOUTS[layout], compile=options, **FIXED).train()
        assert net.state_dict().keys() == plain.state_dict().keys()
        for shape in ((2, 3, 64, 96), (1, 3, 128, 64)):
            (levels, theirs), (own, ours) = (step(each, image(*shape)) for each in (plain, net))
            for a, b in zip(levels, own, strict=True):
                torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)
            assert relative_error(joined(ours), joined(theirs)) < 1e-5

    @pytest.mark.long
    def test_a_copy_computes_with_its_own_weights(self):
        """As the moving average of `EMAHook` must."""
        torch.compiler.reset()
        net = build(compile=dict(backend='eager')).eval()
        before = net(image())
        average = copy.deepcopy(net)
        for p in net.parameters():
            p.data.zero_()
        for a, b in zip(average(image()), before, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(net(image())[0], before[0], atol=0.01)

    @pytest.mark.parametrize('compile', ['reduce-overhead', 1, None])
    def test_a_wrong_switch(self, compile):
        with pytest.raises(ValueError, match=f'compile = {compile!r}'):
            build(compile=compile)

    @pytest.mark.long
    @pytest.mark.parametrize('live', [True, False], ids=['live', 'fixed'])
    def test_grains_in_a_compiled_part(self, live):
        """Same numbers, statistics updated once, and less kept from grain to grain."""
        plain = TailStage(8, 16, 1, dict(type='BN', requires_grad=live)).to(memory_format=torch.channels_last)
        seed(plain)
        for norm in (m for m in plain.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.train(live)
        x = image(2, 8, 64, 64).contiguous(memory_format=torch.channels_last).requires_grad_()
        kept = []
        for grain in (None, 'norm', 'bottleneck', 'stage'):
            torch.compiler.reset()
            eager, net = copy.deepcopy(plain), copy.deepcopy(plain)
            for part in net.modules():
                part.with_cp = grain is not None and isinstance(part, RECOMPUTED[grain])
            net.compile(backend='aot_eager_decomp_partition', fullgraph=True, dynamic=True)
            runs = []
            for each in (eager, net):
                y = each(x)
                y.square().sum().backward()
                runs.append((y, joined({k: p.grad for k, p in each.named_parameters() if p.requires_grad})))
            (y, gradients), (own, ours) = runs
            torch.testing.assert_close(own, y, rtol=1e-4, atol=1e-4)
            assert relative_error(ours, gradients) < 1e-4
            for a, b in zip(eager.buffers(), net.buffers(), strict=True):
                torch.testing.assert_close(b, a)
            kept.append(memory_of(lambda net=net: net(x)).kept)
        assert kept[0] > kept[1] > kept[2] > kept[3]

    @pytest.mark.long
    @pytest.mark.parametrize('norm', [{}, FIXED], ids=['live', 'fixed'])
    @pytest.mark.parametrize('amp', [False, True], ids=['float64', 'bfloat16'])
    def test_same_values_at_any_size_without_another_compilation(self, norm, amp):
        """In float64: in float32, rounding switches a ReLU now and then; even eager gradients differ by percents."""
        torch.compiler.reset()
        dtype, slack = (torch.float32, 1e-4) if amp else (torch.float64, 1e-9)
        plain = build(channels_last=True, **norm).to(dtype).train()
        net = build(compile=True, with_cp='norm', **norm).to(dtype).train()
        exact = build(**norm).double().train()

        def agrees(*shape):
            x = image(*shape).to(dtype)
            with torch.autocast('cpu', torch.bfloat16, enabled=amp):
                runs = [step(each, x) for each in (plain, net)]
            truth, gradients = step(exact, x.double())
            errors = [
                [relative_error(a, b.detach()) for a, b in zip(levels, truth, strict=True)]
                + [relative_error(joined(grads), joined(gradients))]
                for levels, grads in runs
            ]
            for theirs, ours in zip(*errors, strict=True):
                assert ours < 1.5 * theirs + slack  # as near to the truth as torch's eager

        # On a CPU, inductor adds up live BN otherwise over maps of more than 4096 places: a compilation for each side.
        agrees(2, 3, 128, 96)
        agrees(2, 3, 96, 160)
        with torch.compiler.set_stance('fail_on_recompile'):
            for shape in ((2, 3, 192, 128), (3, 3, 128, 160), (2, 3, 256, 96)):
                agrees(*shape)
