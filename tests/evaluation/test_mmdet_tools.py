"""mmdet's own tools on the demo config and on what a training and a test of it leave; docs/mmdet-tools.md lists them.

They are the scripts of the installed mmdet, in processes of their own. One tiny run serves all.
"""

import json
import os
import re
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import mmdet
import mmengine
import pytest
import torch
from conftest import REPO, demo_options
from matplotlib.image import imread

TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'
CONFIG = REPO / 'configs' / 'mask_rcnn_fishnet_demo.py'
PAGE = REPO / 'docs' / 'mmdet-tools.md'

# OneDL's does without, and its default style is none of Matplotlib's.
BY_SEABORN = 'import seaborn' in (TOOLS / 'analysis_tools' / 'analyze_logs.py').read_text()
STYLE = 'dark' if BY_SEABORN else 'default'
needs_seaborn = pytest.mark.skipif(BY_SEABORN and not find_spec('seaborn'), reason="mmdet's analyze_logs needs seaborn")


@pytest.fixture(scope='module')
def run(demo_data, tmp_path_factory, run_tool):
    """A training of two epochs, its log, and a test of it with many detections as a pickle and as COCO results."""
    work_dir = tmp_path_factory.mktemp('tools') / 'run'
    options = ['--cfg-options', *demo_options(demo_data)]
    epochs = ['train_cfg.max_epochs=2', 'train_cfg.val_interval=1']
    done = run_tool('tools/train.py', CONFIG, '--work-dir', work_dir, *options, *epochs)
    assert done.returncode == 0, done.stderr[-2000:]
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    checkpoint, pickle = work_dir / 'epoch_2.pth', work_dir / 'predictions.pkl'
    more = [f'test_evaluator.outfile_prefix={work_dir}/results', 'model.test_cfg.rcnn.score_thr=0.0']
    done = run_tool('tools/test.py', CONFIG, checkpoint, '--work-dir', work_dir, '--out', pickle, *options, *more)
    assert done.returncode == 0, done.stderr[-2000:]
    assert min(len(sample['pred_instances']['scores']) for sample in mmengine.load(pickle)) > 0
    return SimpleNamespace(
        log=log, checkpoint=checkpoint, pickle=pickle, results=work_dir / 'results.segm.json', options=options,
        annotations=demo_data / 'annotations' / 'instances_val.json', images=len(list((demo_data / 'train').iterdir())),
    )  # fmt: skip


@pytest.fixture
def mmdet_tool(run_tool, tmp_path):
    """Calls a tool of mmdet as a user does; returns what it printed."""

    def call(tool, *arguments):
        done = run_tool(TOOLS / tool, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout + done.stderr

    return call


def pictures(folder):
    return [path for path in folder.rglob('*') if path.suffix in ('.png', '.jpg') and imread(path).size]


def test_print_config(mmdet_tool, tmp_path):
    text = mmdet_tool('misc/print_config.py', CONFIG, '--save-path', tmp_path / 'saved' / 'whole.py')
    assert "type='FishNet'" in text
    saved = mmengine.Config.fromfile(tmp_path / 'saved' / 'whole.py')
    assert saved.model == mmengine.Config.fromfile(CONFIG).model


def test_get_flops(mmdet_tool, run):
    """Its count of parameters is that of the built model."""
    out = mmdet_tool('analysis_tools/get_flops.py', CONFIG, '--num-images', 1, *run.options)
    flops, parameters = re.findall(r'^(?:Flops|Params): ([\d.]+)[GM]$', out, flags=re.MULTILINE)
    weights = torch.load(run.checkpoint, weights_only=True)['state_dict']
    count = sum(w.numel() for key, w in weights.items() if not re.search(r'running_|num_batches', key))
    assert float(parameters) == pytest.approx(count / 1e6, abs=1e-3) and float(flops) > 0.5


@needs_seaborn
def test_analyze_logs(mmdet_tool, run, tmp_path):
    out = mmdet_tool('analysis_tools/analyze_logs.py', 'cal_train_time', run.log)
    assert float(re.search(r'average iter time: ([\d.]+) s/iter', out)[1]) > 0
    # An empty size class is NaN in the log, which Matplotlib leaves out.
    for name, keys in (('loss.png', ['loss', 'loss_mask']), ('ap.png', ['bbox_mAP', 'segm_mAP', 'bbox_mAP_l'])):
        picture = tmp_path / name
        arguments = ['--keys', *keys, '--style', STYLE, '--out', picture]
        mmdet_tool('analysis_tools/analyze_logs.py', 'plot_curve', run.log, *arguments)
        assert pictures(tmp_path).count(picture)
    lines = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert 'coco/bbox_mAP_l' in lines[-1] and not any(-1 in line.values() for line in lines)


def test_eval_metric(mmdet_tool, run):
    out = mmdet_tool('analysis_tools/eval_metric.py', CONFIG, run.pickle, *run.options)
    ours = json.loads((run.checkpoint.parent / 'ap_test.json').read_text())['measured']
    for row in ours:
        found = float(re.search(rf"'coco/{row['type']}_mAP': ([\d.e-]+)", out)[1])
        assert found == pytest.approx(row['AP'])


def test_confusion_matrix(mmdet_tool, run, tmp_path):
    mmdet_tool('analysis_tools/confusion_matrix.py', CONFIG, run.pickle, tmp_path / 'out', *run.options)
    assert [path.name for path in pictures(tmp_path / 'out')] == ['confusion_matrix.png']


def test_publish_model(mmdet_tool, run, run_tool, tmp_path):
    """The published file is one that torch reads safely, and our tool tests it."""
    mmdet_tool('model_converters/publish_model.py', run.checkpoint, tmp_path / 'published.pth')
    while not (files := list(tmp_path.glob('published-*.pth'))):
        time.sleep(0.05)  # the tool does not wait for the `mv` that it starts
    content = torch.load(files[0], weights_only=True)
    assert set(content) == {'meta', 'state_dict'}
    assert os.path.getsize(files[0]) < 0.6 * os.path.getsize(run.checkpoint)


@pytest.mark.long
def test_a_published_model_is_tested(mmdet_tool, run, run_tool, tmp_path):
    mmdet_tool('model_converters/publish_model.py', run.checkpoint, tmp_path / 'published.pth')
    time.sleep(1)
    (file,) = tmp_path.glob('published-*.pth')
    done = run_tool('tools/test.py', CONFIG, file, '--work-dir', tmp_path / 'run', *run.options)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'coco/bbox_mAP' in mmdet_tool('test.py', CONFIG, file, '--work-dir', tmp_path / 'theirs', *run.options)


@pytest.mark.long
def test_train(mmdet_tool, run, tmp_path):
    mmdet_tool('train.py', CONFIG, '--work-dir', tmp_path / 'run', *run.options, 'train_cfg.max_epochs=1')
    assert (tmp_path / 'run' / 'epoch_1.pth').exists() and (tmp_path / 'run' / 'ap_val.md').exists()


@pytest.mark.long
def test_browse_dataset(mmdet_tool, run, tmp_path):
    flags = ['--output-dir', tmp_path / 'out', '--not-show']
    mmdet_tool('analysis_tools/browse_dataset.py', CONFIG, *flags, *run.options)
    assert len(pictures(tmp_path / 'out')) == run.images


@pytest.mark.long
def test_coco_error_analysis(mmdet_tool, run, tmp_path):
    flags = ['--ann', run.annotations, '--types', 'bbox', 'segm', '--extraplots']
    mmdet_tool('analysis_tools/coco_error_analysis.py', run.results, tmp_path / 'out', *flags)
    for iou_type in ('bbox', 'segm'):
        names = {path.stem for path in pictures(tmp_path / 'out' / iou_type)}
        assert {f'{iou_type}-{name}-allarea' for name in ('allclass', 'disc', 'box', 'triangle')} <= names


@pytest.mark.long
def test_analyze_results(mmdet_tool, run, tmp_path):
    flags = ['--topk', 2, *run.options]
    mmdet_tool('analysis_tools/analyze_results.py', CONFIG, run.pickle, tmp_path / 'out', *flags)
    assert len(pictures(tmp_path / 'out' / 'good')) == len(pictures(tmp_path / 'out' / 'bad')) == 2


@pytest.mark.long
@pytest.mark.parametrize('task, split', [('dataloader', 'train'), ('dataloader', 'val'), ('dataset', 'train')])
def test_benchmark(mmdet_tool, run, task, split):
    flags = ['--task', task, '--dataset-type', split, '--max-iter', 4, '--num-warmup', 1, '--log-interval', 2]
    out = mmdet_tool('analysis_tools/benchmark.py', CONFIG, *flags, *run.options)
    assert float(re.search(r'Overall fps: ([\d.]+)', out)[1]) > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="mmdet's benchmark of a model needs CUDA")
def test_benchmark_of_the_model(mmdet_tool, run):
    flags = ['--task', 'inference', '--checkpoint', run.checkpoint, '--max-iter', 4, '--num-warmup', 1]
    out = mmdet_tool('analysis_tools/benchmark.py', CONFIG, *flags, '--log-interval', 2, *run.options)
    assert 'Overall fps' in out


def test_the_page_has_a_row_for_each():
    called = set(re.findall(r"mmdet_tool\('(?:\w+/)?(\w+)\.py'", Path(__file__).read_text()))
    rows = set(re.findall(r'^\| `(\w+)` \|', PAGE.read_text(), flags=re.MULTILINE))
    assert rows == called and len(rows) == 12
