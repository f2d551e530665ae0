"""The inference form: the same features and detections, fewer norms, float32 for the modules around it."""

import ast
import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import REPO
from form_case import BF16, Deformable, detections, fish, image
from mmcv.cnn import ConvModule
from seeded import NARROW, relative_error, seeded_classifier
from seeded_models import build
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet import FishNet, FishNetNeck, optimize_for_inference
from fishnet_mmdet.deploy import inference as deploy
from fishnet_mmdet.network.arch import CHOICES
from fishnet_mmdet.network.blocks import Bottleneck, PreActConv

HEADS = torch.contiguous_format
"""Memory format of the feature maps for a detector's heads."""
OPTIONS = [(field, value) for field, values in CHOICES.items() for value in values] + [('group_width', 1)]


def norms(net):
    return sum(isinstance(module, _BatchNorm) for module in net.modules())


@torch.no_grad()
def errors(ours, theirs, x, memory_format=torch.channels_last):
    """Relative error of each level; shapes and dtype must be the plain network's."""
    ours, theirs = ours(x), theirs(x)
    assert len(ours) == len(theirs)
    for mine, plain in zip(ours, theirs, strict=True):
        assert mine.shape == plain.shape and mine.dtype is torch.float32
        assert mine.is_contiguous(memory_format=memory_format)
    return [relative_error(mine, plain) for mine, plain in zip(ours, theirs, strict=True)]


class TestBackbone:
    @pytest.mark.parametrize('field, value', OPTIONS)
    def test_same_features_in_every_option(self, field, value):
        net = fish(replace(NARROW, **{field: value}))
        assert max(errors(optimize_for_inference(net), net, image())) < 1e-5

    @pytest.mark.parametrize('field, value', OPTIONS)
    def test_only_norms_before_which_there_is_no_convolution_stay(self, field, value):
        """The first of each bottleneck and I-conv, two of the bridge, those of strided convs and of the levels."""
        net = fish(replace(NARROW, **{field: value}))
        blocks = [m for m in net.modules() if isinstance(m, Bottleneck)]
        stay = len(blocks) + sum(isinstance(block.shortcut, PreActConv) for block in blocks)
        stay += 1 + (net.arch.attention == 'se')
        stay += sum(isinstance(stage.down, PreActConv) for stage in (*net.tail, *net.head))
        stay += len(net.out_indices) * (net.arch.levels == 'norm_relu')
        assert norms(optimize_for_inference(net)) == stay < norms(net)

    def test_a_third_of_the_released_networks_norms_stays(self):
        with torch.device('meta'):
            net = FishNet('fishnet150')
        assert (norms(net), norms(optimize_for_inference(net))) == (148, 52)

    def test_the_original_is_left_as_it_is(self):
        net = fish().train()
        before = copy.deepcopy(net.state_dict())
        optimize_for_inference(net, torch.bfloat16)
        assert net.training and net.stem[0].conv.weight.requires_grad
        after = net.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) and before[key].dtype is after[key].dtype for key in before)

    def test_group_norm_is_not_folded(self):
        """Its statistics are each image's."""
        net = fish(norm_cfg=dict(type='GN', num_groups=1))
        form = optimize_for_inference(net)
        assert max(errors(form, net, image())) < 1e-5
        count = sum(isinstance(module, nn.GroupNorm) for module in net.modules())
        assert sum(isinstance(module, nn.GroupNorm) for module in form.modules()) == count > 0
        assert max(errors(optimize_for_inference(net, torch.bfloat16), net, image())) < BF16

    @pytest.mark.parametrize('affine, eps', [(False, 1e-5), (True, 1e-2)])
    def test_norms_without_affine_and_of_another_eps(self, affine, eps):
        net = fish(norm_cfg=dict(type='BN', affine=affine, eps=eps, requires_grad=affine))
        assert max(errors(optimize_for_inference(net), net, image())) < 1e-5

    def test_bfloat16(self):
        """Images of any dtype and memory format; weights of half the bytes, and the remaining norms in float32."""
        net = fish()
        form = optimize_for_inference(net, torch.bfloat16)
        off = errors(form, net, image())
        # Larger than an error of float32.
        assert 1e-4 < min(off) and max(off) < BF16
        for x in (image().double(), image().contiguous(memory_format=torch.channels_last)):
            again = form(x)
            assert all(torch.equal(a, b) for a, b in zip(again, form(image()), strict=True))
        kinds = {type(m): {p.dtype for p in m.parameters(recurse=False)} for m in form.modules()}
        assert kinds[nn.Conv2d] == {torch.bfloat16} and kinds[nn.BatchNorm2d] == {torch.float32}

    def test_no_gradient(self):
        form = optimize_for_inference(fish())
        assert not form.training and not any(p.requires_grad for p in form.parameters())
        assert not form(image())[-1].requires_grad

    @pytest.mark.parametrize('arguments', [dict(channels_last=True), dict(with_cp='stage'), dict(out_indices=(1, 3))])
    def test_any_options_of_the_backbone(self, arguments):
        net = fish(**arguments)
        assert max(errors(optimize_for_inference(net), net, image())) < 1e-5


class TestRefusals:
    def test_a_model_without_a_fishnet(self):
        with pytest.raises(ValueError, match='Linear is not a FishNet and has none as its backbone'):
            optimize_for_inference(nn.Linear(1, 1))

    @pytest.mark.parametrize('dtype', [torch.float64, torch.int8, 'bfloat16'])
    def test_other_number_formats(self, dtype):
        with pytest.raises(ValueError, match='must be one of torch.float32, torch.bfloat16, torch.float16'):
            optimize_for_inference(fish(), dtype)

    def test_float16_on_a_cpu(self):
        with pytest.raises(ValueError, match='on a CPU use torch.bfloat16'):
            optimize_for_inference(fish(), torch.float16)


def test_needs_neither_mmdet_nor_training():
    """The module for inference, and all modules of the package that it imports."""
    modules, found = ['fishnet_mmdet.deploy.inference'], set()
    while modules:
        module = modules.pop()
        found.add(module)
        path = REPO / f'{module.replace(".", "/")}.py'
        if path.is_file():
            tree = ast.parse(path.read_text())
            names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
            modules += names - found
    assert 'fishnet_mmdet.network.fishnet' in found
    assert not [name for name in found if name.startswith(('mmdet', 'fishnet_mmdet.training'))]


class TestNecks:
    def test_the_classifiers(self):
        net = seeded_classifier()
        form = optimize_for_inference(net)
        assert norms(form.neck) == 1 and norms(net.neck) == 2
        with torch.no_grad():
            assert relative_error(form(image()), net(image())) < 1e-5
            assert form(image()).dtype is torch.float32
            assert relative_error(optimize_for_inference(net, torch.bfloat16)(image()), net(image())) < BF16

    @pytest.mark.parametrize(
        'arguments, stay',
        [
            (dict(norm_cfg=dict(type='BN')), 0),
            (dict(norm_cfg=dict(type='BN'), order=('norm', 'conv', 'act')), 1),
            (dict(norm_cfg=dict(type='BN'), conv_cfg=dict(type='ConvWS')), 1),
            (dict(norm_cfg=dict(type='BN'), with_spectral_norm=True), 1),
            (dict(norm_cfg=None), 0),
        ],
    )
    def test_any_made_of_conv_modules(self, arguments, stay):
        """Folded only after a plain convolution: standardized weights would undo it."""

        class Neck(nn.Module):
            def __init__(self, width):
                super().__init__()
                self.lateral = ConvModule(width, width, 1, **arguments)

            def forward(self, levels):
                return (self.lateral(levels[-1]),)

        model = nn.Module()
        model.backbone = fish()
        width = model.backbone.out_channels[-1]
        model.neck = Neck(width).eval()
        state = model.neck.state_dict()
        torch.manual_seed(0)
        model.neck.load_state_dict(
            {k: torch.rand_like(v) + 0.5 if 'running' in k or 'bn' in k and v.ndim else v for k, v in state.items()}
        )
        form = optimize_for_inference(model)
        assert norms(form.neck) == stay
        off = errors(lambda x: form.neck(form.backbone(x)), lambda x: model.neck(model.backbone(x)), image(), HEADS)
        assert max(off) < 1e-5

    def test_between_backbone_and_neck_nothing_is_converted(self):
        net = seeded_classifier()
        seen = []
        form = optimize_for_inference(net, torch.bfloat16)
        form.neck.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0]))
        form(image())
        assert [x.dtype for x in seen] == [torch.bfloat16]
        assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def detector():
    return build('mask_rcnn_fishnet_demo')


@pytest.fixture
def classifier():
    return build('classifier_fishnet_demo')


class TestWholeModels:
    def test_a_detector_detects_the_same(self, detector):
        images = torch.randint(0, 256, (2, 3, 96, 160), generator=torch.Generator().manual_seed(0))
        form = optimize_for_inference(detector)
        assert norms(form.neck) == 0 < norms(detector.neck)
        found, plain = detections(form, images), detections(detector, images)
        for ours, theirs in zip(found, plain, strict=True):
            assert len(ours) == len(theirs) > 0 and torch.equal(ours.labels, theirs.labels)
            assert len(theirs.scores.unique()) == len(theirs)
            torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(ours.bboxes, theirs.bboxes, rtol=1e-3, atol=1e-2)
            assert (ours.masks == theirs.masks).float().mean() > 0.9999

    def test_its_heads_stay_as_they_are(self, detector):
        form = optimize_for_inference(detector, torch.bfloat16)
        for part in ('rpn_head', 'roi_head'):
            ours, theirs = getattr(form, part).state_dict(), getattr(detector, part).state_dict()
            assert all(torch.equal(ours[key], theirs[key]) and ours[key].dtype is theirs[key].dtype for key in theirs)
        x = torch.randn(1, 3, 96, 160)
        assert max(errors(form.extract_feat, detector.extract_feat, x, HEADS)) < BF16

    @pytest.mark.parametrize('dtype, bound', [(torch.float32, 1e-5), (torch.bfloat16, BF16)])
    def test_a_neck_of_deformable_convolutions(self, dtype, bound):
        """mmcv's operations are silently wrong on maps in channels_last, and do not exist in bfloat16."""
        model = Deformable()
        form = optimize_for_inference(model, dtype)
        assert max(errors(form, model, image(), HEADS)) < bound

    @pytest.mark.parametrize('wrappers', [1, 2])
    def test_inside_wrappers(self, wrappers, detector):
        """The wrappers of several processes and of test-time augmentation."""
        from mmdet.models import DetTTAModel

        model = DetTTAModel(module=detector)
        runner = SimpleNamespace(model=nn.DataParallel(model) if wrappers == 2 else model)
        deploy.TestOptimized('bfloat16').before_test(runner)
        assert (runner.model.module if wrappers == 2 else runner.model) is model
        assert isinstance(model.module.backbone, deploy.InferenceForm)

    def test_an_mmpretrain_classifier(self, classifier):
        x = image(2, 64, 64)
        form = optimize_for_inference(classifier)
        with torch.no_grad():
            assert relative_error(form(x), classifier(x)) < 1e-5
        assert isinstance(classifier.neck, FishNetNeck) and norms(form.neck) == 1


@pytest.mark.long
def test_compiled_at_two_sizes():
    net = fish()
    form = optimize_for_inference(net, compile=True)
    for size in ((1, 64, 96), (1, 75, 130)):
        assert max(errors(form, net, image(*size))) < 1e-5
