"""Inference on files: what is written, drawn and passed over."""

import json
import os
import signal

import cv2
import infer_case
import numpy as np
import pytest
from infer_case import CLASSES, CONFIG, frames_of, picture, save, write_video
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.deploy import Prediction, Predictor, find_inputs, predict_files
from fishnet_mmdet.deploy.infer.drawing import draw


@pytest.fixture(scope='module')
def predictor(tmp_path_factory):
    checkpoint = tmp_path_factory.mktemp('weights') / 'seeded.pth'
    return Predictor(CONFIG, infer_case.write_checkpoint(checkpoint, dataset_meta=dict(classes=CLASSES)), 'cpu')


def read(path):
    return json.loads(path.read_text())


class TestResults:
    @pytest.fixture(scope='class')
    def done(self, predictor, tmp_path_factory):
        """Folders with pictures of the same names, broken files among them, and a video."""
        root = tmp_path_factory.mktemp('run')
        for seed, name in enumerate(('a/1.jpg', 'b/1.jpg', 'b/c/1.jpg', 'b/2.gif')):
            save(root / 'in' / name.replace('.gif', '.png'), seed)
        (root / 'in/b/2.png').rename(root / 'in/b/2.gif')
        (root / 'in/a/cut.jpg').write_bytes((root / 'in/a/1.jpg').read_bytes()[:-60])
        (root / 'in/a/page.jpg').write_text('<html>not found</html>')
        (root / 'in/a/notes.txt').write_text('notes')
        (root / 'in/a/bad.avi').write_bytes(b'not a video')
        write_video(root / 'in/clip.avi', [picture(seed) for seed in range(5)], code='MJPG')
        outcome = predict_files(predictor, find_inputs([root / 'in']), root / 'out', batch=2, threshold=0.0)
        return root, outcome

    def test_every_image_has_an_id(self, done):
        root, outcome = done
        images = read(root / 'out/images.json')['images']
        files = ['a/1.jpg', 'b/1.jpg', 'b/2.gif', 'b/c/1.jpg']
        frames = [('clip.avi', number) for number in range(5)]
        assert [(image['file_name'], image.get('frame')) for image in images] == [(f, None) for f in files] + frames
        assert [image['id'] for image in images] == list(range(1, 10))
        assert all((image['width'], image['height']) == (120, 96) for image in images)
        assert outcome.images == 9 and not outcome.is_stopped

    def test_rows_hold_what_the_predictor_gives(self, done, predictor):
        root, outcome = done
        rows = read(root / 'out/results.json')
        assert len(rows) == outcome.objects > 9
        found = predictor.predict_loaded([predictor.read(root / f'in/{name}/1.jpg') for name in 'ab'])
        for key, one in enumerate(found, start=1):
            mine = [row for row in rows if row['image_id'] == key]
            boxes = np.array([row['bbox'] for row in mine])
            boxes[:, 2:] += boxes[:, :2]
            np.testing.assert_allclose(boxes, one.boxes, rtol=1e-5)
            assert [row['score'] for row in mine] == one.scores.tolist()
            assert [row['category_id'] for row in mine] == (one.labels + 1).tolist()
            masks = [coco_mask.decode(row['segmentation']).astype(bool) for row in mine]
            assert np.array_equal(np.array(masks), one.masks)

    def test_pycocotools_loads_both_files(self, done):
        root, outcome = done
        loaded = COCO(str(root / 'out/images.json')).loadRes(str(root / 'out/results.json'))
        assert len(loaded.anns) == outcome.objects
        assert [category['name'] for category in loaded.dataset['categories']] == list(CLASSES)

    def test_what_was_passed_over_is_named(self, done):
        root, outcome = done
        reasons = dict(outcome.passed_over)
        assert set(reasons) == {'a/cut.jpg', 'a/page.jpg', 'a/notes.txt', 'a/bad.avi'}
        assert 'truncated' in reasons['a/cut.jpg'] and 'begins with' in reasons['a/page.jpg']
        assert str(root) not in reasons['a/cut.jpg']
        written = {entry['file_name']: entry['reason'] for entry in read(root / 'out/images.json')['passed_over']}
        assert written == reasons

    def test_pictures_lie_in_the_folders_of_their_files(self, done):
        root, _ = done
        files = [path.relative_to(root / 'out/pictures').as_posix() for path in (root / 'out/pictures').rglob('*.*')]
        assert sorted(files) == ['a/1.jpg', 'b/1.jpg', 'b/2.gif.png', 'b/c/1.jpg', 'clip.avi.mp4']
        drawn, plain = cv2.imread(str(root / 'out/pictures/b/2.gif.png')), picture(3)
        assert drawn.shape[1] == 4 * plain.shape[1], 'it is so small that it is drawn enlarged'

    def test_frames_are_those_of_the_video(self, done, predictor):
        root, _ = done
        source, drawn = frames_of(root / 'in/clip.avi'), frames_of(root / 'out/pictures/clip.avi.mp4')
        assert len(drawn.frames) == len(source.frames) == 5 and drawn.fps == source.fps == 5
        rows = [row for row in read(root / 'out/results.json') if row['image_id'] == 8]
        (last,) = [found for n, found in enumerate(predictor.predict(source.frames, batch=2)) if n == 3]
        assert [row['score'] for row in rows] == last.scores.tolist()
        # The video is compressed. It shows the drawn frame rather than the plain one. No frame has a legend.
        expected = draw(source.frames[3], last, legend=False).astype(float)
        plain = draw(source.frames[3], last.above(1.1)).astype(float)
        assert drawn.frames[3].shape == expected.shape == plain.shape
        assert np.abs(drawn.frames[3] - expected).mean() < np.abs(drawn.frames[3] - plain).mean() / 3

    def test_no_hidden_file_is_left(self, done):
        root, _ = done
        assert not [path for path in (root / 'out').rglob('.*')]


class TestRuns:
    def test_without_pictures(self, predictor, tmp_path):
        predict_files(predictor, find_inputs([save(tmp_path / 'in/1.jpg')]), tmp_path / 'out', pictures=False)
        assert sorted(os.listdir(tmp_path / 'out')) == ['images.json', 'results.json']

    def test_the_threshold_is_for_the_pictures_only(self, predictor, tmp_path):
        found = find_inputs([save(tmp_path / 'in/1.png')])
        outcome = predict_files(predictor, found, tmp_path / 'out', threshold=1.0)
        assert outcome.objects == len(predictor.predict(picture()))
        drawn = cv2.imread(str(tmp_path / 'out/pictures/1.png'))
        assert np.array_equal(drawn, cv2.resize(picture(), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC))

    def test_nothing_is_overwritten_unless_asked(self, predictor, tmp_path):
        found = find_inputs([save(tmp_path / 'in/1.jpg')])
        (tmp_path / 'out').mkdir()
        (tmp_path / 'out/results.json').write_text('mine')
        with pytest.raises(UserError, match='holds results.json already: name another folder, or add --overwrite'):
            predict_files(predictor, found, tmp_path / 'out')
        assert (tmp_path / 'out/results.json').read_text() == 'mine'
        predict_files(predictor, found, tmp_path / 'out', overwrite=True)
        assert len(read(tmp_path / 'out/results.json')) > 1

    def test_a_folder_that_is_a_file(self, predictor, tmp_path):
        file = save(tmp_path / '1.jpg')
        with pytest.raises(UserError, match='cannot be written to, because of .*: it is not a folder'):
            predict_files(predictor, find_inputs([file]), file)

    def test_if_nothing_can_be_read_there_are_no_results(self, predictor, tmp_path, capsys):
        (tmp_path / 'x.jpg').write_text('text')
        (tmp_path / 'y.jpg').touch()
        with pytest.raises(UserError, match='none of the inputs could be read: 2 passed over'):
            predict_files(predictor, find_inputs([tmp_path]), tmp_path / 'out')
        printed = capsys.readouterr().err
        assert 'passed over: x.jpg: begins with' in printed and 'passed over: y.jpg: has zero bytes' in printed
        assert not list((tmp_path / 'out').iterdir())

    def test_a_video_that_ends_early_is_named(self, predictor, tmp_path):
        whole = write_video(tmp_path / 'whole.avi', [picture(seed) for seed in range(40)], code='MJPG')
        (tmp_path / 'cut.avi').write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
        outcome = predict_files(predictor, find_inputs([tmp_path / 'cut.avi']), tmp_path / 'out', pictures=False)
        ((name, reason),) = outcome.passed_over
        assert name == 'cut.avi' and f'ends after {outcome.images} of 40 frames' in reason and 5 < outcome.images < 20

    def test_a_camera(self, predictor, tmp_path, monkeypatch):
        """A file in place of the device, which no test machine has."""
        clip, opened = write_video(tmp_path / 'clip.mp4', [picture(seed) for seed in range(3)]), cv2.VideoCapture
        monkeypatch.setattr(cv2, 'VideoCapture', lambda source: opened(str(clip) if source == 0 else source))
        outcome = predict_files(predictor, find_inputs(['0']), tmp_path / 'out')
        images = read(tmp_path / 'out/images.json')['images']
        assert [(image['file_name'], image['frame']) for image in images] == [('camera0', n) for n in range(3)]
        assert len(frames_of(tmp_path / 'out/pictures/camera0.mp4').frames) == 3 and not outcome.passed_over

    def test_after_ctrl_c_the_files_hold_what_was_done(self, predictor, tmp_path, monkeypatch, plain_signals):
        for seed in range(6):
            save(tmp_path / f'in/{seed}.jpg', seed)
        predict, batches = predictor.predict_loaded, []

        def interrupted(loaded):
            batches.append(len(loaded))
            if len(batches) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return predict(loaded)

        before = signal.getsignal(signal.SIGINT)
        monkeypatch.setattr(predictor, 'predict_loaded', interrupted)
        outcome = predict_files(predictor, find_inputs([tmp_path / 'in']), tmp_path / 'out', batch=2)
        assert outcome.is_stopped and outcome.images == 4 and signal.getsignal(signal.SIGINT) is before
        assert len(read(tmp_path / 'out/images.json')['images']) == 4
        assert {row['image_id'] for row in read(tmp_path / 'out/results.json')} == {1, 2, 3, 4}

    def test_an_error_leaves_no_half_written_file(self, predictor, tmp_path, monkeypatch):
        write_video(tmp_path / 'clip.mp4', [picture(seed) for seed in range(4)])
        predict = predictor.predict_loaded
        monkeypatch.setattr(
            predictor, 'predict_loaded', lambda loaded: calls.append(1) or predict(loaded) if not calls else 1 / 0
        )
        calls = []
        with pytest.raises(ZeroDivisionError):
            predict_files(predictor, find_inputs([tmp_path / 'clip.mp4']), tmp_path / 'out')
        assert not [path for path in (tmp_path / 'out').rglob('*') if path.is_file()]

    def test_a_full_disk_is_one_line(self, predictor, tmp_path, monkeypatch):
        def full(*arguments):
            raise OSError(28, 'No space left on device')

        monkeypatch.setattr('fishnet_mmdet.deploy.infer.run.write_picture', full)
        with pytest.raises(UserError, match='No space left on device'):
            predict_files(predictor, find_inputs([save(tmp_path / '1.jpg')]), tmp_path / 'out')

    @pytest.mark.parametrize('value, message', [(9, 'gives the label 9'), (0, 'not finite')])
    def test_numbers_that_no_result_can_hold(self, value, message, predictor, tmp_path, monkeypatch):
        found = Prediction(
            np.zeros((1, 4), np.float32),
            np.array([1.0 if value else np.nan], np.float32),
            np.array([value]),
            ('x',),
            None,
            96,
            120,
        )
        monkeypatch.setattr(predictor, 'predict_loaded', lambda loaded: [found])
        with pytest.raises(UserError, match=message):
            predict_files(predictor, find_inputs([save(tmp_path / '1.jpg')]), tmp_path / 'out')

    def test_a_batch_of_nothing(self, predictor, tmp_path):
        with pytest.raises(UserError, match='batch = 0 must be at least 1'):
            predict_files(predictor, find_inputs([save(tmp_path / '1.jpg')]), tmp_path / 'out', batch=0)
