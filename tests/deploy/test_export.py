"""ONNX files: correct at sizes that the tracer did not see, written and checked by the tool, refused in one line."""

import os
import sys
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import CONFIGS
from mmengine.registry import MODELS, DefaultScope
from seeded import NARROW, seed, seeded_classifier
from torch import nn

from fishnet_mmdet import FishNet
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.deploy.export import (
    SIZES,
    ExportError,
    check_target,
    difference_table,
    export,
    read_network,
)
from fishnet_mmdet.deploy.onnx_file import EXAMPLE
from fishnet_mmdet.network.arch import CHOICES
from fishnet_mmdet.training.launch import read_config

DEMO = CONFIGS / 'mask_rcnn_fishnet_demo.py'
OPTIONS = [(field, value) for field, values in CHOICES.items() for value in values] + [('group_width', 1)]


def fish(arch=NARROW, **arguments):
    net = FishNet(arch, **arguments)
    seed(net)
    return net


def runs_alike(net, path, *sizes):
    """Checks that onnxruntime gives the network's levels for images of these batches and sizes."""
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    for n, height, width in sizes:
        image = torch.rand(n, 3, height, width)
        with torch.no_grad():
            expected = net.eval()(image)
        for ours, theirs in zip(session.run(None, {'image': image.numpy()}), expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-5 * theirs.abs().max().item())


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Seeded weights of the demo's detector, and the detector."""
    folder = tmp_path_factory.mktemp('weights')
    cfg = read_config(str(DEMO))
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    seed(model)
    torch.save({'state_dict': model.state_dict()}, folder / 'detector.pth')
    return folder / 'detector.pth', model


class TestExport:
    @pytest.mark.parametrize('field, value', OPTIONS)
    def test_every_option_at_every_size(self, field, value, tmp_path):
        net = fish(replace(NARROW, **{field: value}))
        differences = export(net, tmp_path / 'fish.onnx')
        assert tuple(differences) == SIZES and max(differences.values()) < 1e-5
        runs_alike(net, tmp_path / 'fish.onnx', (1, 33, 97), (2, 71, 50), (1, 127, 128), (1, 9, 17))

    def test_sizes_are_others_than_the_tracers(self):
        """Non-square, no multiples of 32, another batch."""
        for i in range(3):
            assert EXAMPLE[i] not in {size[i] for size in SIZES if size != (1, 64, 64) and size != (2, 160, 96)}
        assert any(height % 32 and width % 32 and height != width for _, height, width in SIZES)

    @pytest.mark.parametrize(
        'arguments',
        [
            dict(norm_cfg=dict(type='GN', num_groups=1)),
            dict(channels_last=True),
            dict(compile=True),
            dict(out_indices=(1, 3)),
            dict(in_channels=1),
        ],
    )
    def test_any_options_of_the_backbone(self, arguments, tmp_path):
        assert max(export(fish(**arguments), tmp_path / 'fish.onnx').values()) < 1e-5

    def test_fixed_norms_and_gradients(self, tmp_path):
        """As detectors train: operations of backward are not in the graph, and the network is unchanged."""
        net = fish(norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True).train()
        export(net, tmp_path / 'fish.onnx')
        assert net.training and net.head[0].refine[0].conv.conv.weight.requires_grad
        graph = onnxruntime.InferenceSession(tmp_path / 'fish.onnx')
        assert [x.name for x in graph.get_inputs()] == ['image']
        assert graph.get_inputs()[0].shape == ['batch', 3, 'height', 'width']
        assert [x.name for x in graph.get_outputs()] == [f'level{i}' for i in range(4)]

    def test_a_classifiers_neck(self, tmp_path):
        net = seeded_classifier()
        net = nn.Sequential(net.backbone, net.neck)
        assert max(export(net, tmp_path / 'fish.onnx').values()) < 1e-5

    def test_a_graph_for_one_size_only_is_refused(self, tmp_path):
        class Fixed(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 4, 1)

            def forward(self, image):
                # The width is a constant for the tracer.
                return (self.conv(image) * float(image.shape[-1]),)

        with pytest.raises(ExportError, match=r'is off by .* at 1 x 64 x 64 .* tolerance of 0.0001, and at 3 other'):
            export(Fixed(), tmp_path / 'fixed.onnx')
        assert list(tmp_path.iterdir()) == []

    def test_a_network_of_nan_is_wrong(self, tmp_path):
        net = fish()
        net.stem[0].conv.weight.data.fill_(float('nan'))
        with pytest.raises(ExportError, match='off by nan'):
            export(net, tmp_path / 'fish.onnx')

    def test_table(self):
        table = difference_table({(1, 64, 96): 2.5e-7})
        assert [list(column.cells) for column in table.columns] == [['1'], ['64'], ['96'], ['2.5e-07']]


class TestReadNetwork:
    def test_of_a_config_with_its_neck(self, checkpoint, tmp_path):
        path, model = checkpoint
        net = read_network(str(DEMO), str(path))
        image = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            ours, theirs = net.eval()(image), model.eval().extract_feat(image)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)) and len(ours) == 5
        assert len(read_network(str(DEMO), str(path), backbone_only=True)) == 1

    def test_of_an_architecture(self, tmp_path):
        net = fish('fishnet99')
        torch.save(net.state_dict(), tmp_path / 'fish.pth')
        (ours,) = read_network('fishnet99', str(tmp_path / 'fish.pth'))
        assert torch.equal(ours.stem[0].conv.weight, net.stem[0].conv.weight)

    def test_a_mistake_in_the_config_is_named(self):
        with pytest.raises(ConfigError, match="type='FPNN' is not a registered"):
            read_network(str(DEMO), 'none.pth', options={'model.neck.type': 'FPNN'})

    def test_of_no_fishnet(self, tmp_path):
        with pytest.raises(ExportError, match='the backbone of FasterRCNN is not a FishNet'):
            read_network(str(CONFIGS / 'faster_rcnn_r50_fpn.py'), 'none.pth')
        with pytest.raises(ExportError, match="arch = 'fishnet1' is not a FishNet"):
            read_network('fishnet1', 'none.pth')


class TestTargets:
    def test_refused_before_any_work(self, tmp_path):
        (tmp_path / 'there.onnx').touch()
        (tmp_path / 'folder.onnx').mkdir()
        for name, message in {
            'fish.pth': 'must end in .onnx',
            'none/fish.onnx': 'does not exist; create it first',
            'there.onnx': 'exists already.*--overwrite',
            'folder.onnx': 'cannot be written',
        }.items():
            with pytest.raises(ExportError, match=message):
                check_target(tmp_path / name, overwrite=False)
        check_target(tmp_path / 'there.onnx', overwrite=True)

    @pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
    def test_a_folder_that_takes_no_file(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(ExportError, match='cannot be written'):
            check_target(tmp_path / 'fish.onnx', overwrite=False)


class TestTool:
    def test_exports_and_checks(self, checkpoint, tmp_path, run_tool):
        path, model = checkpoint
        done = run_tool('tools/export_onnx.py', DEMO, path, tmp_path / 'fish.onnx')
        assert done.returncode == 0, done.stderr[-3000:]
        assert 'largest difference' in done.stdout and '225' in done.stdout and 'written' in done.stdout
        assert 'Tracer' not in done.stderr and 'Deprecat' not in done.stderr.replace('pkg_resources is deprecated', '')
        assert [p.name for p in tmp_path.iterdir()] == ['fish.onnx']
        runs_alike(nn.Sequential(model.backbone, model.neck), tmp_path / 'fish.onnx', (1, 100, 70), (3, 64, 128))

    def test_flags(self, checkpoint, tmp_path, call_tool):
        (tmp_path / 'fish.onnx').touch()
        flags = ['--backbone-only', '--overwrite', '--cfg-options', 'model.backbone.out_indices=(0,1,2,3)']
        done = call_tool('tools/export_onnx.py', DEMO, checkpoint[0], tmp_path / 'fish.onnx', *flags)
        assert done.returncode == 0 and 'written' in done.stdout
        outputs = onnxruntime.InferenceSession(tmp_path / 'fish.onnx').get_outputs()
        assert [x.name for x in outputs] == [f'level{i}' for i in range(4)]

    def test_over_tolerance(self, checkpoint, tmp_path, call_tool):
        done = call_tool('tools/export_onnx.py', DEMO, checkpoint[0], tmp_path / 'fish.onnx', '--tolerance', '1e-12')
        assert done.returncode == 1 and 'tolerance of 1e-12' in done.stderr
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        'arguments, message',
        [
            ((DEMO, 'none.pth'), 'none.pth does not exist'),
            (('none.py', 'none.pth'), 'config file not found'),
            (('fishnet99', 'none.pth'), 'none.pth does not exist'),
            (('fishnet9', 'none.pth'), 'give a config file'),
        ],
    )
    def test_a_wrong_argument_is_one_line(self, arguments, message, tmp_path, call_tool):
        done = call_tool('tools/export_onnx.py', *arguments, tmp_path / 'fish.onnx')
        assert done.returncode == 1 and 'error: ' in done.stderr and message in done.stderr

    def test_weights_of_another_network(self, tmp_path, call_tool):
        torch.save(fish().state_dict(), tmp_path / 'narrow.pth')
        done = call_tool('tools/export_onnx.py', DEMO, tmp_path / 'narrow.pth', tmp_path / 'fish.onnx')
        assert done.returncode == 1 and 'missing' in done.stderr

    def test_without_onnxruntime(self, tmp_path, monkeypatch, call_tool):
        monkeypatch.setitem(sys.modules, 'onnxruntime', None)
        done = call_tool('tools/export_onnx.py', DEMO, 'none.pth', tmp_path / 'x.onnx')
        assert done.returncode == 1 and 'pip install onnxruntime' in done.stderr
