"""OpenVINO as a contender of the benchmark, with a stand-in for the package."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from fishnet_mmdet.lab.benchmark.rivals.runtimes import NotOffered, open_openvino


class TestOpenVino:
    """With a stand-in for the package, so that the settings are tested where it is not installed."""

    @pytest.fixture
    def calls(self, monkeypatch):
        calls = {}
        output = SimpleNamespace(data=np.zeros((2, 8, 4, 4)))
        request = SimpleNamespace(infer=lambda *a, **k: calls.update(inferred=a), get_output_tensor=lambda i: output)
        compiled = SimpleNamespace(create_infer_request=lambda: request, outputs=[0, 1])

        class Core:
            abilities = ('FP32', 'BF16')

            def get_property(self, device, name):
                return list(self.abilities)

            def read_model(self, file):
                return SimpleNamespace(reshape=lambda shapes: calls.update(shapes=shapes))

            def compile_model(self, model, device, settings):
                calls.update(device=device, settings=settings)
                return compiled

        module = ModuleType('openvino')
        module.Core = Core
        monkeypatch.setitem(sys.modules, 'openvino', module)
        return calls | dict(core=Core, record=calls)

    @pytest.mark.parametrize('precision', ['f32', 'bf16'])
    def test_settings(self, calls, precision, tmp_path):
        run = open_openvino(tmp_path / 'network.onnx', np.zeros((2, 3, 64, 64), np.float32), 2, precision)
        assert [level.shape for level in run()] == [(2, 8, 4, 4)] * 2
        seen = calls['record']
        assert seen['shapes'] == {'image': [2, 3, 64, 64]} and seen['device'] == 'CPU'
        assert seen['settings']['INFERENCE_PRECISION_HINT'] == precision
        assert seen['settings']['INFERENCE_NUM_THREADS'] == 2 and seen['settings']['NUM_STREAMS'] == 1

    def test_a_processor_without_bfloat16(self, calls, tmp_path):
        calls['core'].abilities = ('FP32',)
        with pytest.raises(NotOffered, match='no bfloat16 instructions'):
            open_openvino(tmp_path / 'network.onnx', np.zeros((1, 3, 64, 64), np.float32), 1, 'bf16')
