"""The form for inference and the ONNX file compute what the trained network does."""

import copy

import pytest
import torch
from conftest import CONFIGS, demo_options
from mmdet.registry import MODELS as DETECTORS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from seeded import NARROW, relative_error, seed, seeded_classifier
from torch import nn

from fishnet_mmdet import FishNet, optimize_for_inference
from fishnet_mmdet.deploy import InferenceForm
from fishnet_mmdet.export import Features, differences, export_onnx

LAYOUTS = [
    {},
    dict(stem='conv7x7', down='avg2'),
    dict(stem='residual', down='conv'),
    dict(down='max3', up='bilinear', dilation='body_head'),
    dict(attention='none', stem_stride=1),
    dict(group_width=1),
]


def seeded(layout=None, **arguments):
    from dataclasses import replace

    net = FishNet(replace(NARROW, **(layout or {})), **arguments).eval()
    seed(net)
    return net


def norms(net):
    return sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())


@pytest.fixture
def image():
    return torch.randn(2, 3, 70, 97, generator=torch.Generator().manual_seed(0))


class TestBackbone:
    @pytest.mark.parametrize('layout', LAYOUTS, ids=str)
    def test_it_computes_the_same(self, layout, image):
        net = seeded(layout)
        fast = optimize_for_inference(net)
        for ours, theirs in zip(fast(image), net(image), strict=True):
            assert relative_error(ours, theirs) < 1e-5
            assert ours.dtype == torch.float32 and ours.is_contiguous() and not ours.requires_grad

    def test_the_fold_is_exact(self, image):
        net = seeded().double()
        fast = optimize_for_inference(net)
        fast.network.double()
        fast.dtype = torch.float64
        with torch.no_grad():
            levels = fast.network(image.double())
        for ours, theirs in zip(levels, net(image.double()), strict=True):
            # The weights were rounded to float32 when the form was made.
            assert relative_error(ours, theirs) < 1e-6

    def test_norms_that_follow_a_convolution_are_gone(self):
        net = seeded()
        blocks = sum(type(m).__name__ == 'Bottleneck' for m in net.modules())
        folded = norms(net) - norms(optimize_for_inference(net))
        assert folded == 3 + 2 * blocks + 1  # the stem's, two of each bottleneck, the bridge's second

    def test_the_trained_network_stays_as_it_was(self, image):
        net = seeded()
        net.train()
        before = copy.deepcopy(net.state_dict())
        optimize_for_inference(net, torch.bfloat16)
        assert net.training and all(p.requires_grad for p in net.parameters())
        assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())

    def test_group_norm_has_nothing_to_fold(self, image):
        net = FishNet(NARROW, norm_cfg=dict(type='GN', num_groups=1)).eval()
        for ours, theirs in zip(optimize_for_inference(net)(image), net(image), strict=True):
            assert relative_error(ours, theirs) < 1e-5

    def test_bfloat16_goes_in_and_out_as_float32(self, image):
        net = seeded()
        fast = optimize_for_inference(net, torch.bfloat16)
        assert {p.dtype for m in fast.modules() if isinstance(m, nn.Conv2d) for p in m.parameters()} == {
            torch.bfloat16
        }
        for ours, theirs in zip(fast(image), net(image), strict=True):
            assert ours.dtype == torch.float32
            # 8 bits of mantissa, 2^-9 a rounding, over some 40 layers that follow one another
            assert 1e-4 < relative_error(ours, theirs) < 40 * 2**-9

    @pytest.mark.parametrize(
        'model, dtype, named',
        [
            (nn.Conv2d(3, 3, 1), torch.float32, 'Conv2d is no FishNet'),
            (seeded(), torch.int8, 'torch.int8'),
            (seeded(), torch.float16, 'bfloat16'),
        ],
    )
    def test_what_it_cannot_take_is_named(self, model, dtype, named):
        with pytest.raises(ValueError, match=named):
            optimize_for_inference(model, dtype)

    @pytest.mark.long
    def test_compiled(self, image):
        net = seeded()
        fast = optimize_for_inference(net, compile=dict(dynamic=True))
        for size in ((64, 96), (96, 128), (96, 96)):
            x = torch.randn(1, 3, *size)
            for ours, theirs in zip(fast(x), net(x), strict=True):
                assert relative_error(ours, theirs) < 1e-5


class TestWholeModels:
    def test_a_classifier(self, image):
        net = seeded_classifier()
        fast = optimize_for_inference(net)
        with torch.no_grad():
            assert relative_error(fast(image), net(image)) < 1e-5
        assert isinstance(fast.neck, InferenceForm) and norms(fast.neck) == 1  # the one on top of a sum

    @pytest.fixture(scope='class')
    def detector(self):
        register_all_modules()
        torch.manual_seed(0)
        model = DETECTORS.build(Config.fromfile(CONFIGS / 'mask_rcnn_fishnet_demo.py').model)
        seed(model.backbone)
        return model.eval()

    def test_a_detector_gets_the_features_that_it_got(self, detector):
        image = torch.randn(2, 3, 96, 128)
        fast = optimize_for_inference(detector)
        with torch.no_grad():
            for ours, theirs in zip(fast.extract_feat(image), detector.extract_feat(image), strict=True):
                # mmcv's RoIAlign reads contiguous memory, whatever it is told
                assert relative_error(ours, theirs) < 1e-4 and ours.is_contiguous()

    def test_a_detector_compiled_and_its_heads(self, detector):
        fast = optimize_for_inference(detector, torch.bfloat16)
        assert {p.dtype for p in fast.roi_head.parameters()} == {torch.float32}
        assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.neck.modules())


@pytest.mark.long
def test_ap_is_the_same_in_the_form_for_inference(demo_data, tmp_path, run_tool):
    config = CONFIGS / 'mask_rcnn_fishnet_demo.py'
    options = demo_options(demo_data)
    done = run_tool(
        'tools/train.py', config, '--work-dir', tmp_path, '--cfg-options', *options, 'train_cfg.max_epochs=1'
    )
    assert done.returncode == 0, done.stderr[-2000:]
    checkpoint = (tmp_path / 'last_checkpoint').read_text()
    for form in ([], ['--optimize', 'float32'], ['--optimize', 'bfloat16']):
        done = run_tool(
            'tools/test.py', config, checkpoint, '--work-dir', tmp_path, *form, '--cfg-options', *options
        )
        assert done.returncode == 0, done.stderr[-2000:]


class TestOnnx:
    def test_it_computes_the_same_at_every_size(self, tmp_path):
        neck = DETECTORS.build(
            dict(type='mmdet.FPN', in_channels=list(FishNet(NARROW).out_channels), out_channels=8, num_outs=5)
        )
        features = Features(seeded(), neck).eval().requires_grad_(False)
        export_onnx(features, tmp_path / 'fish.onnx')
        found = dict(differences(features, tmp_path / 'fish.onnx', ((1, 64, 96), (2, 70, 33), (3, 128, 65))))
        assert len(found) == 3 and max(found.values()) < 1e-5

    def test_a_wrong_file_is_told(self, tmp_path):
        features = Features(seeded()).eval().requires_grad_(False)
        export_onnx(features, tmp_path / 'fish.onnx')
        features.backbone.stem[0].conv.weight.mul_(1.1)
        assert max(value for _, value in differences(features, tmp_path / 'fish.onnx', ((1, 64, 96),))) > 1e-3

    def test_the_tool(self, tmp_path, run_tool):
        net = seeded_classifier('fishnet99', 5)
        torch.save({'state_dict': net.state_dict()}, tmp_path / 'fish.pth')
        done = run_tool(
            'tools/export_onnx.py', tmp_path / 'fish.pth', tmp_path / 'fish.onnx', '--arch', 'fishnet99'
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert '2 x 320 x 224' in done.stdout and (tmp_path / 'fish.onnx').stat().st_size > 4 * 13e6

    @pytest.mark.parametrize(
        'arguments, named',
        [
            (['none.pth', 'out.onnx', '--arch', 'fishnet99'], 'none.pth'),
            (['none.pth', 'out.onnx', '--config', 'none.py'], 'config file not found'),
            (['none.pth', 'out.txt', '--arch', 'fishnet99'], 'must end in .onnx'),
        ],
    )
    def test_bad_input_is_named(self, run_tool, arguments, named):
        done = run_tool('tools/export_onnx.py', *arguments)
        assert done.returncode != 0 and named in done.stderr
