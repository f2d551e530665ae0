"""The whole way in subprocesses: train, validate, resume, test, on drawn images; what the run leaves on disk."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import CONFIGS, REAL_DATA, REPO, demo_options
from fork_server import free_port
from run_logs import Hostile, assert_same

DEMO = CONFIGS / 'mask_rcnn_fishnet_demo.py'


def run_ok(done):
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope='module')
def trained(demo_data, run_tool, tmp_path_factory):
    """A run of two epochs on eight images, with a validation after each."""
    work_dir = tmp_path_factory.mktemp('run')
    options = [*demo_options(demo_data), 'train_cfg.max_epochs=2', 'train_cfg.val_interval=1']
    options += [
        'default_hooks.checkpoint.max_keep_ckpts=-1',
        'default_hooks.checkpoint.save_best=coco/segm_mAP',
        'train_dataloader.num_workers=1',
        'train_dataloader.persistent_workers=True',
    ]
    # There is nothing to resume yet.
    flags = ['--work-dir', work_dir, '--resume', '--cfg-options', *options]
    return work_dir, options, run_ok(run_tool('tools/train.py', DEMO, *flags, cwd=work_dir))


class TestTrain:
    def test_leaves_checkpoints_and_tables(self, trained):
        work_dir, _, log = trained
        assert (work_dir / 'epoch_2.pth').is_file()
        assert list(work_dir.glob('best_coco_segm_mAP_epoch_*.pth'))  # also where nothing was detected
        record = json.loads((work_dir / 'ap_val.json').read_text())
        assert [(r['label'], r['type']) for r in record['measured']] == [
            (f'epoch {e}', t) for e in (1, 2) for t in ('bbox', 'segm')
        ]
        assert record['published'] == []  # the paper's rows are of COCO
        table = (work_dir / 'ap_val.md').read_text()
        assert 'epoch 2' in table and 'not measured here' not in table
        for column in ('AP50', 'AP75', 'AP_S', 'AP_M', 'AP_L', 'segm', 'bbox'):
            assert column in log

    def test_nothing_to_resume_is_reported_and_the_run_starts(self, trained):
        assert f'Nothing to resume in {trained[0]}: the training starts from the beginning' in trained[2]

    def test_a_batch_that_the_rate_is_not_for_is_reported(self, trained):
        assert re.search(r'1 processes x 2 images.*--auto-scale-lr multiplies it by', trained[2])

    def test_untrained_models_get_a_table_of_zeros_and_a_hint(self, trained):
        """Two epochs of eight images detect nothing yet."""
        work_dir, _, log = trained
        record = json.loads((work_dir / 'ap_val.json').read_text())
        if all(row['AP'] == 0 for row in record['measured']):
            assert 'Likely causes' in log

    def test_checkpoints_need_no_unsafe_global(self, trained):
        work_dir, _, _ = trained
        assert torch.serialization.get_unsafe_globals_in_checkpoint(work_dir / 'epoch_1.pth') == []
        checkpoint = torch.load(work_dir / 'epoch_1.pth', weights_only=True)
        assert {'state_dict', 'optimizer', 'param_schedulers', 'message_hub', 'meta'} <= set(checkpoint)
        assert checkpoint['message_hub']['log_scalars']['train/loss']['values'].numel() == 4


class TestResume:
    @pytest.fixture
    def resumed(self, trained, tmp_path, run_tool):
        work_dir, options, _ = trained
        (tmp_path / 'epoch_1.pth').write_bytes((work_dir / 'epoch_1.pth').read_bytes())
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
        arguments = (DEMO, '--work-dir', tmp_path, '--resume', '--console', 'mmengine', '--cfg-options', *options)
        return tmp_path, run_ok(run_tool('tools/train.py', *arguments))

    def test_goes_on_where_it_stopped(self, resumed, trained):
        work_dir, log = resumed
        assert 'resumed epoch: 1, iter: 4' in log
        assert re.search(r'Epoch\(train\)\s+\[2\]\[1/4\]', log)
        assert not re.search(r'Epoch\(train\)\s+\[1\]', log)
        ours, whole = (torch.load(d / 'epoch_2.pth', weights_only=True) for d in (work_dir, trained[0]))
        assert ours['meta']['iter'] == whole['meta']['iter'] == 8
        assert ours['param_schedulers'] == whole['param_schedulers']
        histories = [c['message_hub']['log_scalars']['train/loss']['values'] for c in (ours, whole)]
        assert [h.numel() for h in histories] == [8, 8]  # the first epoch's came along
        assert torch.equal(*histories)
        for part in ('state_dict', 'loop'):
            assert_same(ours[part], whole[part])

    @pytest.mark.parametrize('how', ['damaged', 'hostile'])
    def test_a_named_file_that_cannot_be_resumed_is_one_line(self, trained, tmp_path, run_tool, how):
        file = tmp_path / 'named.pth'
        if how == 'damaged':
            file.write_bytes((trained[0] / 'epoch_1.pth').read_bytes()[:-5000])
        else:
            torch.save({'state_dict': {}, 'meta': Hostile(tmp_path / 'executed')}, file)
        done = run_tool('tools/train.py', DEMO, '--resume', file, '--work-dir', tmp_path)
        assert done.returncode == 1 and str(file) in done.stderr and 'Traceback' not in done.stderr
        assert not (tmp_path / 'executed').exists()

    def test_a_missing_checkpoint_is_one_line(self, tmp_path, run_tool):
        done = run_tool('tools/train.py', DEMO, '--resume', 'none.pth', '--work-dir', tmp_path)
        assert done.returncode == 1 and 'none.pth' in done.stderr and 'Traceback' not in done.stderr


class TestTest:
    def test_table_pictures_predictions_tta(self, trained, tmp_path, run_tool):
        """`resume=True` stands in the config that a resumed run has written."""
        work_dir, options, _ = trained
        out = tmp_path / 'predictions.pkl'
        log = run_ok(
            run_tool(
                'tools/test.py', DEMO, work_dir / 'epoch_2.pth', '--work-dir', tmp_path,
                '--out', out, '--show-dir', 'pictures', '--cfg-options', *options, 'resume=True',
            )
        )  # fmt: skip
        assert 'this model' in log and out.stat().st_size > 0
        record = json.loads((tmp_path / 'ap_test.json').read_text())
        assert [r['type'] for r in record['measured']] == ['bbox', 'segm']
        assert len(list(tmp_path.glob('**/pictures/*.jpg'))) == 4
        # Validation and test of the same weights agree.
        validated = json.loads((work_dir / 'ap_val.json').read_text())['measured'][2:]
        for ours, theirs in zip(record['measured'], validated, strict=True):
            assert {**ours, 'label': ''} == {**theirs, 'label': ''}

    def test_tta_merges_boxes(self, trained, tmp_path, run_tool):
        """Of the same run, as a Faster R-CNN: mmdet's test-time augmentation knows no masks."""
        work_dir, options, _ = trained
        options = [
            *options,
            'model.type=FasterRCNN',
            'model.roi_head.mask_head=None',
            'test_evaluator.metric=bbox',
            'default_hooks.ap_report.type=APReport',
            'default_hooks.ap_report.published=True',
        ]
        options.append('model.roi_head.mask_roi_extractor=None')
        arguments = ('--work-dir', tmp_path, '--tta', '--cfg-options', *options)
        done = run_tool('tools/test.py', DEMO, work_dir / 'epoch_2.pth', *arguments)
        assert done.returncode == 1 and 'roi_head.mask_head' in done.stderr  # told: it is not of this detector
        checkpoint = torch.load(work_dir / 'epoch_2.pth', weights_only=True)
        for key in [key for key in checkpoint['state_dict'] if 'mask_head' in key]:
            del checkpoint['state_dict'][key]
        torch.save(checkpoint, tmp_path / 'boxes.pth')
        log = run_ok(run_tool('tools/test.py', DEMO, tmp_path / 'boxes.pth', *arguments))
        assert '40.6' in log  # the paper's row for the detector inside the wrapper
        assert [r['type'] for r in json.loads((tmp_path / 'ap_test.json').read_text())['measured']] == ['bbox']

    def test_tta_of_masks_is_refused(self, trained, tmp_path, run_tool):
        done = run_tool('tools/test.py', DEMO, trained[0] / 'epoch_2.pth', '--tta', '--work-dir', tmp_path)
        assert done.returncode == 1 and 'boxes only' in done.stderr and 'Traceback' not in done.stderr

    @pytest.mark.parametrize('arguments, told', [(('none.pth',), 'none.pth'), ((DEMO, '--out', 'x.json'), 'pkl')])
    def test_a_wrong_argument_is_one_line(self, tmp_path, run_tool, arguments, told):
        done = run_tool('tools/test.py', DEMO, *arguments, '--work-dir', tmp_path)
        assert done.returncode == 1 and told in done.stderr and 'Traceback' not in done.stderr


def test_same_figures_on_every_run(trained, tmp_path, run_tool):
    """What `make demo` promises, in small: another run writes the same weights."""
    work_dir, options, _ = trained
    options = [*options, 'train_cfg.max_epochs=1', 'val_cfg=None', 'val_dataloader=None', 'val_evaluator=None']
    options += ['default_hooks.checkpoint.save_best=None']
    run_ok(run_tool('tools/train.py', DEMO, '--work-dir', tmp_path, '--cfg-options', *options))
    ours, theirs = (torch.load(d / 'epoch_1.pth', weights_only=True)['state_dict'] for d in (tmp_path, work_dir))
    assert_same(ours, theirs)


def test_two_processes_on_the_cpu(demo_data, forker, tmp_path):
    """As torchrun starts them, with gloo: an epoch and a validation, with every trainable parameter used."""
    flags = ['--launcher', 'pytorch', '--work-dir', tmp_path, '--cfg-options', *demo_options(demo_data)]
    flags += ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    place = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()), WORLD_SIZE='2')
    output = tmp_path / 'output'
    pids = [
        forker.start_script(
            REPO / 'tools/train.py', DEMO, *flags, env={**place, 'RANK': rank, 'LOCAL_RANK': rank}, output=output
        )
        for rank in '01'
    ]
    statuses, log = forker.wait_for(pids), output.read_text()
    assert statuses == [0, 0], log[-3000:]
    assert len(re.findall(r'  epoch 1/1  2/2  loss ', log)) == 1  # 8 images / (2 ranks x 2); only rank 0 shows it
    assert 'batch 4 (2 images x 2 processes)' in log and 'find_unused_parameters' not in log
    assert 'loading annotations' not in log
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    assert not any(key.startswith('module.') for key in checkpoint['state_dict'])
    assert (tmp_path / 'ap_val.md').is_file()


@pytest.mark.parametrize('how', ['fixed norms', 'broken loss', 'wrong classes'])
def test_a_run_that_cannot_work_stops_with_the_reason(demo_data, tmp_path, run_tool, how):
    options = [*demo_options(demo_data), 'train_cfg.max_epochs=1']
    if how == 'fixed norms':
        options += ['model.backbone.norm_eval=True', 'model.backbone.norm_cfg.requires_grad=False']
        told = ('fixed BatchNorm', 'init_cfg', 'mask_rcnn_fishnet150_fpn_scratch')
    elif how == 'broken loss':
        options += ['optim_wrapper.optimizer.lr=1e30', 'param_scheduler=None']
        told = ('non-finite loss', 'learning rate 1e+30', 'train/0000')
    else:
        options += ['model.roi_head.bbox_head.num_classes=7']
        told = ('model.roi_head.bbox_head.num_classes = 7', 'set model.roi_head.bbox_head.num_classes=3')
    done = run_tool('tools/train.py', DEMO, '--work-dir', tmp_path, '--cfg-options', *options)
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr[-2000:]
    message = done.stderr[done.stderr.rindex('error: ') :]
    for part in told:
        assert part in message, done.stderr[-2000:]


@pytest.mark.parametrize(
    'script, arguments', [('dist_train.sh', ['c.py', '16']), ('slurm_train.sh', ['p', 'j', 'c.py'])]
)
def test_launch_scripts_say_what_they_run(script, arguments, tmp_path):
    """With torchrun and srun replaced by echo: 16 processes, our tool, flags passed on; and usage without arguments."""
    for name in ('torchrun', 'srun'):
        (tmp_path / name).write_text('#!/bin/sh\necho "$@"\n')
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'}
    path = REPO / 'tools' / script
    done = subprocess.run([path, *arguments, '--amp'], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert '--signal=TERM@180' in done.stdout or script == 'dist_train.sh'
    assert '--amp' in done.stdout and '16' in done.stdout and 'tools/train.py c.py --launcher' in done.stdout
    usage = subprocess.run([path], capture_output=True, text=True, env=environment)
    assert usage.returncode == 2 and script in usage.stdout


def few_real_images(path, count=8):
    """Annotations of the first training images whose objects are few, whole and not tiny."""
    content = json.loads((REAL_DATA / 'coco_mini/annotations/instances_train2017.json').read_text())
    chosen, kept = [], []
    for image in content['images']:
        objects = [a for a in content['annotations'] if a['image_id'] == image['id']]
        if 2 <= len(objects) <= 6 and all(not a['iscrowd'] and a['area'] >= 64**2 for a in objects):
            chosen.append(image)
            kept += objects
    chosen = chosen[:count]
    ids = {image['id'] for image in chosen}
    kept = [a for a in kept if a['image_id'] in ids]
    path.write_text(json.dumps({**content, 'images': chosen, 'annotations': kept}))
    return path


@pytest.mark.long
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason='needs the real COCO images, which are not in the repo')
def test_real_images_can_be_learnt_by_heart(tmp_path, run_tool):
    """FishNet-150 from random weights on 8 real COCO images: segm AP of at least 0.5 on these images."""
    environment = {
        'COCO_ROOT': str(REAL_DATA / 'coco_mini'),
        'OVERFIT_ANNOTATIONS': str(few_real_images(tmp_path / 'eight.json')),
        'OMP_NUM_THREADS': str(os.cpu_count()),
    }
    config = Path(__file__).parents[1] / 'overfit_coco.py'
    run_ok(run_tool('tools/train.py', config, '--work-dir', tmp_path, env=environment, timeout=3600))
    last = json.loads((tmp_path / 'ap_val.json').read_text())['measured'][-1]
    assert last['type'] == 'segm' and last['AP'] >= 0.5, last
