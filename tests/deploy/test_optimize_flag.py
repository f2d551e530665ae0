"""`test --optimize` finds the same objects with the inference form."""

import json
import pickle

import pytest
import torch
from conftest import CONFIGS, demo_options
from form_case import BF16
from seeded_models import build

DEMO = CONFIGS / 'mask_rcnn_fishnet_demo.py'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Seeded weights of the demo's detector."""
    path = tmp_path_factory.mktemp('weights') / 'seeded.pth'
    torch.save({'state_dict': build(DEMO.stem).state_dict()}, path)
    return path


def found(folder, run_tool, checkpoint, demo_data, *flags):
    """The scores that tools/test.py finds on each image."""
    done = run_tool(
        'tools/test.py', DEMO, checkpoint, '--work-dir', folder, *flags,
        '--out', folder / 'found.pkl', '--cfg-options', *demo_options(demo_data),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert [line for line in done.stdout.splitlines() if line.startswith('inference ')] == [
        f'inference   backbone and neck in the form {form}' for form in flags[1:]
    ]
    measured = json.loads((folder / 'ap_test.json').read_text())['measured']
    assert [row['type'] for row in measured] == ['bbox', 'segm']
    return [sample['pred_instances']['scores'] for sample in pickle.loads((folder / 'found.pkl').read_bytes())]


class TestTool:
    @pytest.fixture(scope='class')
    def plain(self, tmp_path_factory, run_tool, checkpoint, demo_data):
        return found(tmp_path_factory.mktemp('plain'), run_tool, checkpoint, demo_data)

    @pytest.mark.parametrize('dtype, bound', [('float32', 1e-4), ('bfloat16', BF16), ('openvino', 1e-4)])
    def test_finds_the_same(self, dtype, bound, plain, checkpoint, demo_data, tmp_path, run_tool):
        optimized = found(tmp_path, run_tool, checkpoint, demo_data, '--optimize', dtype)
        assert len(optimized) == len(plain) == 4 and all(len(scores) for scores in plain)
        best = [torch.stack([scores[0] for scores in each]) for each in (optimized, plain)]
        torch.testing.assert_close(*best, rtol=bound, atol=0)
        # It was another form.
        assert not torch.equal(*best)

    def test_compile_goes_with_optimize(self, call_tool):
        done = call_tool('tools/test.py', DEMO, 'none.pth', '--compile')
        assert done.returncode == 2 and '--compile needs --optimize' in done.stderr
        done = call_tool('tools/test.py', DEMO, 'none.pth', '--optimize', 'openvino', '--compile')
        assert done.returncode == 2 and 'OpenVINO compiles by itself' in done.stderr
