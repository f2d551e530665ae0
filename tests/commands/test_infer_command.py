"""The command `fishnet-mmdet infer`: the same AP as `test`, exit statuses, all flags."""

import json
import re
import shutil

import infer_case
import pytest
from conftest import demo_options
from infer_case import CONFIG

from fishnet_mmdet.commands import run_command
from fishnet_mmdet.deploy import Predictor


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return infer_case.write_checkpoint(tmp_path_factory.mktemp('weights') / 'seeded.pth')


@pytest.fixture(scope='module')
def annotated(demo_data, checkpoint, tmp_path_factory):
    """A copy of the demo set whose validation annotations are objects that the detector finds."""
    root = tmp_path_factory.mktemp('annotated') / 'demo'
    shutil.copytree(demo_data, root)
    files = sorted((root / 'val').iterdir())
    infer_case.annotate(Predictor(CONFIG, checkpoint, 'cpu'), files, root / 'annotations/instances_val.json')
    return root


def infer(*arguments):
    return run_command('infer', [str(argument) for argument in arguments])


def read(path):
    return json.loads(path.read_text())


def test_the_results_have_the_ap_of_the_test(annotated, checkpoint, tmp_path):
    """To the last bit, with ids that are not in the order of the files; pictures in subfolders are found too."""
    truth = annotated / 'annotations/instances_val.json'
    options = demo_options(annotated)
    run_command('test', [CONFIG, str(checkpoint), '--work-dir', str(tmp_path / 'test'), '--cfg-options', *options])
    measured = {row['type']: row for row in read(tmp_path / 'test/ap_test.json')['measured']}

    out = tmp_path / 'out'
    assert infer(CONFIG, checkpoint, annotated / 'val', '--out', out, '--annotations', truth, '--no-pictures') == 0
    for kind in ('bbox', 'segm'):
        figures = tmp_path / f'{kind}.json'
        arguments = [truth, out / 'results.json', '--iou-type', kind, '--out', figures]
        assert run_command('eval', list(map(str, arguments))) == 0
        assert {key: read(figures)[key] for key in ('AP', 'AP50', 'AP75')} == {
            key: measured[kind][key] for key in ('AP', 'AP50', 'AP75')
        }
        assert measured[kind]['AP50'] > 0.1


def test_pictures_that_are_not_annotated(annotated, checkpoint, tmp_path, capsys):
    truth = annotated / 'annotations/instances_val.json'
    files = sorted((annotated / 'val').iterdir())[:2]
    shutil.copy(files[0], tmp_path / 'other.jpg')
    out = tmp_path / 'out'
    assert infer(CONFIG, checkpoint, *files, tmp_path / 'other.jpg', '--out', out, '--annotations', truth) == 3
    printed = capsys.readouterr()
    assert 'other.jpg: not among the images of the annotation file' in printed.err
    assert f'2 images of {truth} were not among the inputs' in printed.out
    assert {row['image_id'] for row in read(out / 'results.json')} <= {70, 67}
    assert {row['category_id'] for row in read(out / 'results.json')} <= {5, 9, 11}


def test_a_video_has_no_ids_in_annotations(annotated, checkpoint, tmp_path, capsys):
    video = infer_case.write_video(tmp_path / 'clip.mp4', [infer_case.picture()])
    truth = annotated / 'annotations/instances_val.json'
    with pytest.raises(SystemExit, match='clip.mp4 is a video, and annotations have ids for pictures only'):
        infer(CONFIG, checkpoint, video, '--out', tmp_path / 'out', '--annotations', truth)


class TestStatus:
    def test_all_in_the_results(self, annotated, checkpoint, tmp_path, capsys):
        out = tmp_path / 'out'
        flags = ['--batch', 2, '--threshold', 0.2, '--device', 'cpu', '--optimize', 'bfloat16', '--cfg-options']
        assert (
            infer(CONFIG, checkpoint, annotated / 'val', '--out', out, *flags, 'model.test_cfg.rcnn.max_per_img=5') == 0
        )
        printed = capsys.readouterr()
        assert f'4 images, 20 objects: {out}/results.json; images by id: {out}/images.json' in printed.out
        assert f'drawn, from score 0.2 on: {out}/pictures' in printed.out and 'passed over' not in printed.err
        assert len(list((out / 'pictures').iterdir())) == 4

    def test_nothing_is_drawn(self, annotated, checkpoint, tmp_path, capsys):
        assert infer(CONFIG, checkpoint, annotated / 'val', '--out', tmp_path / 'out', '--threshold', 1) == 0
        (best, lower) = re.search(
            r'the best one has (\S+): --threshold (\S+) draws it', capsys.readouterr().out
        ).groups()
        assert 0 < float(lower) <= float(best) < 1
        assert infer(CONFIG, checkpoint, annotated / 'val', '--out', tmp_path / 'other', '--threshold', lower) == 0
        assert 'the best one' not in capsys.readouterr().out

    def test_nothing_is_found(self, annotated, checkpoint, tmp_path, capsys):
        flags = ['--out', tmp_path / 'out', '--cfg-options', 'model.test_cfg.rcnn.score_thr=1']
        assert infer(CONFIG, checkpoint, annotated / 'val', *flags) == 0
        out = capsys.readouterr().out
        assert '4 images, 0 objects' in out
        assert (
            'scores than model.test_cfg.rcnn.score_thr=1; to see them: --cfg-options model.test_cfg.rcnn.score_thr=0'
            in out
        )

    @pytest.mark.parametrize('command', ['infer', 'export'])
    def test_a_setting_without_a_value_is_named(self, command, capsys):
        with pytest.raises(SystemExit, match='2'):
            run_command(command, [CONFIG, 'x.pth', 'x.onnx', '--cfg-options', 'model.backbone'])
        assert "'model.backbone' is not of the form key=value" in capsys.readouterr().err

    def test_some_passed_over(self, annotated, checkpoint, tmp_path, capsys):
        shutil.copytree(annotated / 'val', tmp_path / 'in')
        (tmp_path / 'in/broken.jpg').write_bytes(b'\xff\xd8 broken')
        assert infer(CONFIG, checkpoint, tmp_path / 'in', '--out', tmp_path / 'out', '--no-pictures') == 3
        printed = capsys.readouterr()
        assert 'passed over: broken.jpg: ' in printed.err and '1 inputs passed over' in printed.out

    @pytest.mark.parametrize(
        'weights, given, message',
        [
            ('seeded.pth', 'missing.jpg', 'input not found'),
            ('missing.pth', 'in', 'weights not found'),
            ('fishnet://fishnet151', 'in', 'no weights of this name'),
        ],
    )
    def test_errors_of_the_user(self, weights, given, message, annotated, checkpoint, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        shutil.copytree(annotated / 'val', tmp_path / 'in')
        weights = checkpoint if weights == 'seeded.pth' else weights
        with pytest.raises(SystemExit, match=f'error: .*{message}'):
            infer(CONFIG, weights, given, '--out', 'out')
        assert not (tmp_path / 'out').exists()

    def test_results_that_are_there_are_found_before_the_model_is_built(self, annotated, tmp_path):
        (tmp_path / 'images.json').write_text('{}')
        with pytest.raises(SystemExit, match='images.json already.*--overwrite'):
            infer(CONFIG, 'missing.pth', annotated / 'val', '--out', tmp_path)

    def test_overwrite(self, annotated, checkpoint, tmp_path):
        for _ in range(2):
            assert infer(CONFIG, checkpoint, annotated / 'val', '--out', tmp_path, '--no-pictures', '--overwrite') == 0
