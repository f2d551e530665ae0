"""Recomputation and layout change what the backbone costs, not what it computes."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import CONFIGS
from lean_case import FIXED, GN, LAYOUTS, build, image, joined, step
from mmengine.config import Config
from seeded import relative_error, seed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fishnet_mmdet import FishNet
from fishnet_mmdet.lab.benchmark.memory import memory_of
from fishnet_mmdet.network.ops.memory_format import memory_format_of, to_channels_last

GRAINS = ['norm', 'bottleneck', True, 'stage']


class TestRecomputation:
    def agrees(self, plain, lean, steps=2):
        """Features and buffers bit for bit, gradients within rounding, over steps of an optimizer."""
        optimizer = torch.optim.SGD([p for p in plain.parameters() if p.requires_grad], 0.01)
        for n in range(steps):
            x = image(2, 3, 64 + 32 * n, 64)
            (levels, theirs), (own, ours) = step(plain, x), step(lean, x)
            assert all(map(torch.equal, levels, own))
            assert theirs.keys() == ours.keys()
            assert relative_error(joined(ours), joined(theirs)) < 1e-5
            assert all(map(torch.equal, plain.buffers(), lean.buffers()))
            optimizer.step()
            lean.load_state_dict(dict(plain.named_parameters()), strict=False)

    @pytest.mark.parametrize('norm', [{}, FIXED, GN], ids=['live', 'fixed', 'GN'])
    @pytest.mark.parametrize('layout', LAYOUTS)
    def test_every_grain(self, layout, norm):
        plain = build(LAYOUTS[layout], **norm).train()
        for grain in ('norm', 'bottleneck', 'stage'):
            lean = build(LAYOUTS[layout], with_cp=grain, **norm).train()
            lean.load_state_dict(plain.state_dict())
            self.agrees(copy.deepcopy(plain), lean)

    @pytest.mark.parametrize('grain', GRAINS)
    @pytest.mark.parametrize('options', [dict(frozen_stages=0), dict(frozen_stages=2), dict(frozen_stages=3, **FIXED)])
    def test_with_frozen_stages(self, grain, options):
        self.agrees(build(**options).train(), build(with_cp=grain, **options).train())

    @pytest.mark.parametrize('grain', GRAINS)
    @pytest.mark.parametrize('out_indices', [(0,), (1, 2)])
    def test_with_a_subset_of_levels(self, grain, out_indices):
        self.agrees(build(out_indices=out_indices).train(), build(out_indices=out_indices, with_cp=grain).train())

    @pytest.mark.parametrize('grain', GRAINS)
    def test_under_amp(self, grain):
        plain, lean = build().train(), build(with_cp=grain).train()
        with torch.autocast('cpu', torch.bfloat16):
            (levels, theirs), (own, ours) = step(plain, image()), step(lean, image())
        assert all(map(torch.equal, levels, own))
        assert all(map(torch.equal, plain.buffers(), lean.buffers()))
        assert relative_error(joined(ours), joined(theirs)) < 0.02

    @pytest.mark.parametrize('grain', GRAINS)
    @pytest.mark.parametrize('norm', [{}, FIXED], ids=['live', 'fixed'])
    def test_backward_twice(self, grain, norm):
        """Through one graph, as methods that weigh losses by their gradients do; statistics move once all the same."""
        runs = []
        for net in (build(**norm).train(), build(with_cp=grain, **norm).train()):
            levels = net(image())
            weights = net.tail[0].refine[0].conv.conv.weight
            grads = [torch.autograd.grad(level.square().mean(), weights, retain_graph=True)[0] for level in levels]
            runs.append((grads, list(net.buffers())))
        (theirs, statistics), (ours, own) = runs
        for a, b in zip(ours, theirs, strict=True):
            assert relative_error(a, b) < 1e-5
        assert all(map(torch.equal, statistics, own))

    def test_nothing_is_recomputed_in_eval(self):
        plain, lean = build().eval(), build(with_cp='stage').eval()
        assert type(lean(image())[-1].grad_fn) is type(plain(image())[-1].grad_fn)
        assert memory_of(lambda: lean(image())).kept == memory_of(lambda: plain(image())).kept

    def test_a_wrong_grain(self):
        with pytest.raises(ValueError, match='with_cp = .*norm, bottleneck, stage'):
            build(with_cp='blocks')


def _train_on_a_half(rank, address, grains, results):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=address, rank=rank, world_size=2)
    for grain in grains:
        net = DistributedDataParallel(build(with_cp=grain, **FIXED).train(), find_unused_parameters=False)
        # DDP builds its buckets again for the second step.
        for _ in range(2):
            _, gradients = step(net, image(4, 3, 64, 64)[2 * rank : 2 * rank + 2])
        if rank == 0:
            torch.save({k.removeprefix('module.'): g for k, g in gradients.items()}, f'{results}/{grain}.pth')
    dist.destroy_process_group()


def test_every_grain_under_ddp(tmp_path):
    """Two real processes, unused parameters not looked for: the gradients of one process on the joint batch."""
    grains = [False, 'norm', 'bottleneck', 'stage']
    mp.spawn(_train_on_a_half, (f'file://{tmp_path}/rendezvous', grains, tmp_path), nprocs=2)
    _, alone = step(build(**FIXED).train(), image(4, 3, 64, 64))
    for grain in grains:
        gradients = torch.load(tmp_path / f'{grain}.pth', weights_only=True)
        assert gradients.keys() == alone.keys()
        assert relative_error(joined(gradients), joined(alone)) < 1e-5, grain


@pytest.fixture(scope='module')
def peer_keeps():
    """Bytes that pytorchcv's FishNet-150 keeps for backward without its classifier, by whether BN is fixed."""
    from pytorchcv.models.fishnet import fishnet150

    features = fishnet150().features
    net = nn.Sequential(features.init_block, features.hg).train()
    live = kept_by(net)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval().requires_grad_(False)
    return {'live': live, 'fixed': kept_by(net)}


def kept_by(net):
    x = image(1, 3, 256, 256)
    net(x)
    return memory_of(lambda: net(x)).kept


@pytest.mark.parametrize(
    'norm, with_cp, ratio',
    [('fixed', False, 0.48), ('live', 'norm', 0.55), ('live', 'bottleneck', 0.30), ('live', 'stage', 0.10)],
)
def test_kept_bytes(peer_keeps, norm, with_cp, ratio):
    """Against the same network as plain modules, at 1x3x256x256; a meter that missed half would fail too."""
    net = FishNet('150', out_indices=(3,), with_cp=with_cp, **(FIXED if norm == 'fixed' else {})).train()
    seen = kept_by(net) / peer_keeps[norm]
    print(f'\n{norm}, with_cp={with_cp}: {seen:.3f} of {peer_keeps[norm] / 1e6:.1f} MB')
    assert 0.5 * ratio < seen <= ratio


class TestChannelsLast:
    @pytest.mark.parametrize('norm', [{}, FIXED, GN], ids=['live', 'fixed', 'GN'])
    @pytest.mark.parametrize('layout', LAYOUTS)
    def test_equals_contiguous(self, layout, norm):
        nets = [build(LAYOUTS[layout], channels_last=on, **norm).double().train() for on in (False, True)]
        x = image(2, 3, 71, 96).double()
        (levels, theirs), (own, ours) = (step(net, x) for net in nets)
        for a, b in zip(levels, own, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)
        assert relative_error(joined(ours), joined(theirs)) < 1e-5

    def test_equals_contiguous_in_float32(self):
        nets = [build(channels_last=on).eval() for on in (False, True)]
        for a, b in zip(*(net(image()) for net in nets), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize('outside', [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize('with_cp', [False, 'norm', 'stage'])
    @pytest.mark.parametrize('norm', [{}, FIXED], ids=['live', 'fixed'])
    @pytest.mark.parametrize('layout', LAYOUTS)
    def test_every_map_and_every_gradient(self, layout, norm, with_cp, outside):
        """Whatever goes in or comes out of any module, forward and backward, is channels_last but for 1 x 1 maps."""
        net = build(LAYOUTS[layout], channels_last=True, with_cp=with_cp, **norm).train()
        wrong, seen = set(), {'forward': 0, 'backward': 0}

        def look(name, when, value):
            for x in value if isinstance(value, tuple | list) else [value]:
                if isinstance(x, torch.Tensor) and x.dim() == 4 and min(x.shape[1:]) > 1:
                    seen[when] += 1
                    if x.stride(1) != 1:  # a slice of channels, as from a concatenation's gradient, has it too
                        wrong.add((name, when, tuple(x.shape)))
                    if when == 'forward' and x.requires_grad:
                        x.register_hook(lambda grad: look(name, 'backward', grad))

        def hook(name, inputs, output):
            look(name, 'forward', inputs)
            look(name, 'forward', output)

        for name, module in net.named_modules():
            if name:
                module.register_forward_hook(lambda _, inputs, output, name=name: hook(name, inputs, output))
        step(net, image(2, 3, 96, 128).contiguous(memory_format=outside))  # the loss hands in contiguous gradients
        assert not wrong
        assert seen['forward'] > 100 and seen['backward'] > 50

    @pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
    def test_levels_leave_as_the_image_came(self, layout):
        levels = build(channels_last=True)(image().contiguous(memory_format=layout))
        assert [memory_format_of(level) for level in levels] == 4 * [layout]

    def test_weights_stay_through_loading_and_copies(self):
        net = build(channels_last=True)
        net.load_state_dict(build().state_dict())
        net.init_weights()
        for each in (net, copy.deepcopy(net)):
            wide = [p for p in each.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[-1] > 1]
            assert wide and all(memory_format_of(p) is torch.channels_last for p in wide)


class TestWholeDetector:
    """The hook `ChannelsLast`, on the demo's Mask R-CNN."""

    @pytest.fixture(scope='class')
    def detector(self):
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules

        register_all_modules(init_default_scope=True)
        torch.manual_seed(0)
        model = MODELS.build(Config.fromfile(CONFIGS / 'mask_rcnn_fishnet_demo.py').model)
        seed(model.backbone)
        return model

    @staticmethod
    def losses(model):
        from mmdet.testing import demo_mm_inputs

        batch = demo_mm_inputs(2, [[3, 128, 160], [3, 128, 128]], num_items=[3, 2], num_classes=3, with_mask=True)
        data = model.data_preprocessor(batch, training=True)
        torch.manual_seed(0)
        model.train()
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.eval()  # live, at a handful of numbers a channel, it makes much of rounding
        losses, _ = model.parse_losses(model(**data, mode='loss'))
        model.zero_grad()
        losses.backward()
        return losses.item(), {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}

    def test_same_losses_and_gradients(self, detector):
        from types import SimpleNamespace

        from mmengine.registry import HOOKS

        laid_out = copy.deepcopy(detector)
        hook = HOOKS.build(dict(type='ChannelsLast'))
        for _ in range(2):
            hook.before_run(SimpleNamespace(model=laid_out))
        maps = []
        laid_out.neck.register_forward_hook(lambda _, __, levels: maps.extend(levels))
        (loss, theirs), (own, ours) = self.losses(copy.deepcopy(detector)), self.losses(laid_out)
        assert maps and all(memory_format_of(x) is torch.channels_last for x in maps if min(x.shape[-2:]) > 1)
        assert own == pytest.approx(loss, rel=1e-4)
        assert relative_error(joined(ours), joined(theirs)) < 0.01

    def test_roi_align_without_the_guard_is_wrong(self):
        """Why there is one: should mmcv fix it, this fails, and the guard can go."""
        from mmcv.ops import RoIAlign

        x = image(2, 8, 16, 16)
        rois = torch.tensor([[0, 1.0, 1.0, 12.0, 9.0], [1, 0.0, 3.0, 15.0, 15.0]])
        plain = RoIAlign(4, sampling_ratio=2)
        expected = plain(x, rois)
        strided = x.contiguous(memory_format=torch.channels_last)
        assert not torch.allclose(plain(strided, rois), expected, atol=0.01)

        guarded = nn.ModuleDict(dict(backbone=nn.Identity(), roi=RoIAlign(4, sampling_ratio=2)))
        to_channels_last(guarded, guarded['backbone'])
        assert torch.equal(guarded['roi'](strided, rois), expected)

    def test_deformable_convolutions_and_subclasses_are_guarded_too(self):
        """They own weights and a convolution that tells their offsets."""
        from mmcv.ops import ModulatedDeformConv2dPack

        class Own(ModulatedDeformConv2dPack):
            pass

        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Own(8, 8, 3, padding=1), nn.Conv2d(8, 4, 3))
        nn.init.normal_(model[1].conv_offset.weight, std=0.1)
        laid_out = copy.deepcopy(model)
        to_channels_last(laid_out, laid_out)
        runs = []
        for net in (model, laid_out):
            y = net(image(2, 3, 12, 12))
            y.square().sum().backward()
            runs.append([y, *(p.grad for p in net.parameters())])
        for a, b in zip(*runs, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)
