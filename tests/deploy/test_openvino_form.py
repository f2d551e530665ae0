"""Backbone and neck in OpenVINO: the same features and detections; what is not possible is said before any work."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from conftest import REPO
from form_case import BF16, Deformable, detections, fish, image
from seeded import NARROW, relative_error, seeded_classifier
from seeded_models import build
from torch import nn

from fishnet_mmdet import FishNet, optimize_for_inference
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.deploy import inference, openvino_form
from fishnet_mmdet.deploy.inference import InferenceForm, arguments_of
from fishnet_mmdet.deploy.openvino_form import OpenVinoForm
from fishnet_mmdet.network.arch import CHOICES

SIZES = ((1, 64, 96), (2, 75, 130), (1, 160, 64))


@pytest.fixture(scope='module')
def detector():
    return build('mask_rcnn_fishnet_demo')


def worst(form, net, size):
    """The largest relative error of a level; levels are float32 and contiguous."""
    x = image(*size)
    with torch.no_grad():
        ours, theirs = form(x), net(x)
    assert len(ours) == len(theirs)
    assert all(level.dtype is torch.float32 and level.is_contiguous() for level in ours)
    return max(relative_error(mine, plain) for mine, plain in zip(ours, theirs, strict=True))


class TestBackbone:
    @pytest.mark.parametrize('options', [{}, *({field: values[-1]} for field, values in CHOICES.items())])
    def test_same_features_at_any_size(self, options):
        net = fish(replace(NARROW, **options))
        form = optimize_for_inference(net, runtime='openvino')
        assert max(worst(form, net, size) for size in SIZES) < 1e-4

    def test_an_image_in_channels_last(self):
        net, x = fish(), image(1, 64, 96)
        form = optimize_for_inference(net, runtime='openvino')
        for plain, other in zip(form(x), form(x.to(memory_format=torch.channels_last)), strict=True):
            assert torch.equal(plain, other)

    def test_features_stay_when_another_image_follows(self):
        form = optimize_for_inference(fish(), runtime='openvino')
        first = form(image(1, 64, 96))
        before = [level.clone() for level in first]
        form(-image(1, 64, 96))
        assert all(map(torch.equal, first, before))

    def test_bfloat16(self):
        net = fish()
        try:
            form = optimize_for_inference(net, torch.bfloat16, runtime='openvino')
        except ConfigError as why:
            pytest.skip(str(why))
        assert 1e-4 < worst(form, net, (1, 64, 96)) < BF16


class TestWholeModels:
    def test_a_detector_detects_the_same(self, detector):
        images = torch.randint(0, 256, (2, 3, 96, 160), generator=torch.Generator().manual_seed(0))
        form = optimize_for_inference(detector, runtime='openvino')
        assert isinstance(form.backbone, OpenVinoForm) and isinstance(form.neck, nn.Identity)
        assert isinstance(detector.backbone, FishNet)
        for ours, theirs in zip(detections(form, images), detections(detector, images), strict=True):
            assert len(ours) == len(theirs) > 0 and torch.equal(ours.labels, theirs.labels)
            torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(ours.bboxes, theirs.bboxes, rtol=1e-3, atol=1e-2)

    def test_an_mmpretrain_classifier(self):
        classifier, x = seeded_classifier(), image(2, 64, 64)
        with torch.no_grad():
            assert relative_error(optimize_for_inference(classifier, runtime='openvino')(x), classifier(x)) < 1e-4

    def test_a_neck_that_it_cannot_compute_stays_in_torch(self):
        model = Deformable()
        with patch.object(inference, 'print_log') as log:
            form = optimize_for_inference(model, runtime='openvino')
        assert 'No conversion rule found for operations: mmcv' in log.call_args.args[0]
        assert isinstance(form.backbone, OpenVinoForm) and isinstance(form.neck, InferenceForm)
        assert max(worst(form, model, size) for size in SIZES) < 1e-4

    def test_before_a_test(self, detector):
        runner = SimpleNamespace(model=detector)
        inference.TestOptimized('openvino').before_test(runner)
        assert isinstance(runner.model.backbone, OpenVinoForm)


class TestRefusals:
    @pytest.mark.parametrize(
        'arguments, text',
        [
            (dict(runtime='tvm'), "runtime = 'tvm' must be one of torch, openvino"),
            (dict(runtime='openvino', compile=True), 'OpenVINO compiles by itself'),
            (dict(runtime='openvino', dtype=torch.float16), 'must be torch.float32 or torch.bfloat16 in OpenVINO'),
        ],
    )
    def test_arguments(self, arguments, text):
        with pytest.raises(ConfigError, match=text):
            optimize_for_inference(fish(), **arguments)

    def test_a_model_elsewhere(self):
        with pytest.raises(ConfigError, match='OpenVINO computes on the CPU, and the model is on meta: infer with'):
            optimize_for_inference(fish().to('meta'), runtime='openvino')

    def test_openvino_is_not_installed(self, monkeypatch):
        monkeypatch.setattr(openvino_form, 'find_spec', lambda name: None)
        for attempt in (lambda: arguments_of('openvino'), lambda: inference.TestOptimized('openvino')):
            with pytest.raises(ConfigError, match='not installed: openvino and onnx. pip install openvino onnx'):
                attempt()

    @pytest.mark.parametrize('name', ['openvino', 'onnx'])
    def test_a_package_is_broken(self, tmp_path, name):
        """In a process of its own, which has not imported it."""
        (tmp_path / f'{name}.py').write_text("raise OSError('libtbb.so.12: cannot open shared object file')")
        code = "from fishnet_mmdet.deploy.inference import arguments_of; arguments_of('openvino')"
        environment = {**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'}
        command = [sys.executable, '-W', 'ignore', '-c', code]
        done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=120)
        expected = rf'{name} is installed and cannot be imported \(OSError: libtbb.*\). pip install --force-reinst'
        assert re.search(expected, done.stderr.splitlines()[-1]), done.stderr

    def test_an_unknown_form(self):
        with pytest.raises(ConfigError, match="optimize='tvm' must be one of float32, .*, openvino-bfloat16"):
            arguments_of('tvm')
