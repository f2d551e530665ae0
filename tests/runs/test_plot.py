"""The files of `fishnet-mmdet plot`: a page that needs nothing else, PNG, CSV with the numbers of the log."""

import csv
import json
import re
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from html_page import Page
from run_folders import CONFIG, OTHER_RATE, epochs, start, training, validation, write_two

from fishnet_mmdet.commands import run_command
from fishnet_mmdet.runs.pictures import find_pictures
from fishnet_mmdet.runs.plot import plot as plot_files
from fishnet_mmdet.runs.run import read_runs

COLUMNS = (
    'best bbox AP', 'best at', 'AP at the end', 'AP50', 'AP75', 'AP_M', 'AP_L', 'progress', 'training time',
    'time of an iteration', 'of it waiting for data', 'GPU memory',
)  # fmt: skip


@pytest.fixture
def plot(tmp_path, capsys):
    """Calls the command; returns its folder, the page and what was printed."""

    def call(*arguments):
        assert run_command('plot', [*map(str, arguments), '--out', str(tmp_path / 'out')]) == 0
        return tmp_path / 'out', Page((tmp_path / 'out' / 'index.html').read_text()), capsys.readouterr().out

    return call


@pytest.fixture
def two(tmp_path):
    return write_two(tmp_path)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """The two runs, drawn once for all tests that only look: their folders, that of the page, the page, the answer."""
    folder = tmp_path_factory.mktemp('drawn')
    runs = write_two(folder)
    written = plot_files(runs, folder / 'out')
    return SimpleNamespace(
        runs=runs,
        out=folder / 'out',
        html=written.page.read_text(),
        page=Page(written.page.read_text()),
        answer=written.verdict.answer,
    )


def pointer_values(page):
    """What each chart holds for the pointer."""
    return [json.loads(attributes['data-values']) for _, attributes in page.tags if 'data-values' in attributes]


def rows(file):
    return list(csv.DictReader(file.open()))


class TestPage:
    def test_the_first_line_is_the_answer(self, drawn):
        headings = [tag for tag, _ in drawn.page.tags if re.fullmatch('h[1-6]', tag)]
        assert headings[0] == 'h1' and headings.count('h1') == 1
        assert drawn.answer == 'a_run is better than b_run: by 9.8 bbox AP (39.3 against 29.5), with one seed each.'
        assert drawn.page.text('title') == drawn.answer
        body = ''.join(text for tag, text in drawn.page.texts if tag not in ('title', 'style')).strip()
        assert body.startswith(drawn.answer)

    def test_needs_nothing_else(self, drawn):
        assert all(address.startswith(('#', 'data:image/jpeg;base64,')) for address in drawn.page.addresses)
        assert not re.search(r'(?:https?:)?//\w|@import|url\((?!#)|fetch\(|import\(', drawn.html)
        assert {tag for tag, _ in drawn.page.tags}.isdisjoint({'link', 'iframe', 'object', 'embed', 'base'})

    def test_fits_light_and_dark_and_phones(self, drawn):
        viewport = {'name': 'viewport', 'content': 'width=device-width, initial-scale=1'}
        assert ('meta', viewport) in drawn.page.tags
        style = drawn.html.partition('</style>')[0]
        dark = ''.join(part.partition('}')[0] for part in style.split('@media (prefers-color-scheme: dark)')[1:])
        assert all(f'{name}:' in dark for name in ('--ink', '--card', '--rule', '--quiet', '--page', '--c0', '--c7'))
        charts = re.findall(r'<svg viewBox="0 0 3\d\d.*?</svg>', drawn.html, flags=re.DOTALL)
        assert len(charts) > 8 and all('var(--c1)' in chart for chart in charts)
        # Every colour of a chart is one that the page sets.
        assert [re.findall(r'(?:stroke|fill): #[0-9a-f]{6}', chart) for chart in charts] == [[]] * len(charts)

    def test_values_for_the_pointer(self, drawn):
        values = pointer_values(drawn.page)[0]
        assert [line[0] for line in values['lines']] == ['a_run', 'b_run']
        assert values['lines'][0][2] == [1, 2, 3, 4] and values['lines'][0][3][-1] == pytest.approx(39.267, abs=1e-2)

    def test_settings_that_differ(self, drawn):
        assert 'Settings that differ' in drawn.page.text('h2')
        assert 'optim_wrapper' in drawn.page.text('code') and '0.01' in drawn.page.text('code')
        (row,) = rows(drawn.out / 'settings.csv')
        assert row == {'setting': 'optim_wrapper.optimizer.lr', 'a_run': '0.01', 'b_run': '0.02'}

    def test_the_table_of_runs_explains_itself(self, drawn):
        heads = [text for tag, text in drawn.page.texts if tag == 'th']
        assert [text for text in heads if text in COLUMNS] == list(COLUMNS)
        assert 'AP_S' not in heads and 'epoch 4, the last' in drawn.page.text('td')
        notes = drawn.page.text('figcaption')
        assert 'No AP_S: the validation data have no small objects (below 32 x 32 pixels)' in notes
        assert 'No AP_M' not in notes and 'Waiting for data: the part of it' in notes
        assert '"-": the validation data have no objects of the class.' in notes

    def test_runs_that_coincide_are_marked(self, drawn):
        charts = re.findall(r'<svg viewBox="0 0 3\d\d.*?</svg>', drawn.html, flags=re.DOTALL)
        (rate,) = [chart for chart in charts if 'learning rate' in chart]
        assert 'both runs coincide' in rate and rate.count('stroke-dasharray') == 2
        assert 'coincide' not in next(chart for chart in charts if 'bbox AP, %' in chart)

    def test_names_are_text(self, plot, tmp_path):
        name = '<img src="http://x/y.png">&'
        _, page, _ = plot(
            start(tmp_path / 'r', epochs(1, 2)),
            start(tmp_path / 's', epochs(1, 2), config=OTHER_RATE),
            '--names',
            name,
            "'b'",
        )
        assert 'img' not in {tag for tag, _ in page.tags}
        assert name in page.text('title')

    def test_notes_say_what_was_joined_and_left_out(self, plot, tmp_path):
        run = start(tmp_path / 'r', epochs(1, 2), '20260101_000000')
        start(run, [training(25), training(30, loss=float('nan'))], '20260102_000000', config=None, tail='{"lo')
        _, page, _ = plot(run)
        notes = page.text('li')
        assert 'start 20260102_000000 logs from iteration 25 on; what an earlier start had logged' in notes
        assert '1 incomplete line(s)' in notes and 'not finite at iteration 30' in notes

    def test_seeds_share_a_colour(self, plot, tmp_path):
        runs = [
            start(tmp_path / f'{kind}_s{n}', epochs(1, 4), config=config.replace('seed=0', f'seed={n}'))
            for kind, config in (('fish', OTHER_RATE), ('res', CONFIG))
            for n in (0, 1)
        ]
        _, page, _ = plot(*runs)
        assert [text for tag, text in page.texts if tag == 'span'][:4] == [
            'fish, seed 0',
            'fish, seed 1',
            'res, seed 0',
            'res, seed 1',
        ]
        values = pointer_values(page)[0]
        assert [line[1] for line in values['lines']] == [0, 0, 1, 1]
        assert 'Each with the seeds 0, 1.' in page.text('figcaption')
        assert 'seed' not in page.text('code')
        _, page, printed = plot(*runs, '--no-groups')
        values = pointer_values(page)[0]
        assert [line[1] for line in values['lines']] == [0, 1, 2, 3]


class TestFiles:
    def test_csv_equals_the_log(self, drawn):
        log = drawn.runs[0] / '20260101_000000' / 'vis_data' / 'scalars.json'
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        logged = [line for line in lines if 'iter' in line]
        written = [row for row in rows(drawn.out / 'training.csv') if row.pop('run') == 'a_run']
        assert len(written) == len(logged) == 80
        for row, line in zip(written, logged, strict=True):
            assert int(row.pop('iteration')) == line['step']
            assert {key: float(value) for key, value in row.items()} == {k: line[k] for k in row}
        validations = [line for line in lines if 'iter' not in line]
        written = [row for row in rows(drawn.out / 'validations.csv') if row['run'] == 'a_run']
        for row, line in zip(written, validations, strict=True):
            assert float(row['coco/bbox_mAP']) == line['coco/bbox_mAP'] and int(row['epoch']) == line['step']

    def test_what_is_missing_is_an_empty_cell_and_no_point(self, plot, tmp_path):
        lines = [*epochs(1, 2), *epochs(3, 3)]
        lines[-1]['coco/bbox_mAP'] = -1.0
        out, page, _ = plot(start(tmp_path / 'r', lines))
        assert [row['coco/bbox_mAP_s'] for row in rows(out / 'validations.csv')] == [''] * 3
        assert rows(out / 'validations.csv')[-1]['coco/bbox_mAP'] == ''
        values = pointer_values(page)[0]
        assert values['lines'][0][2] == [1, 2]

    def test_a_png_of_each_chart(self, drawn):
        pictures = {file.stem: cv2.imread(str(file)) for file in drawn.out.glob('*.png')}
        assert len(pictures) == sum(tag == 'figure' for tag, _ in drawn.page.tags)
        losses = {'loss', 'loss_cls', 'loss_bbox'}
        assert set(pictures) == losses | {
            'lr', 'grad_norm', 'memory', 'time', 'coco_bbox_mAP', 'coco_bbox_mAP_time', 'classes',
        }  # fmt: skip
        for name, picture in pictures.items():
            # The last line that is drawn has the colour of the second run; OpenCV's order is BGR.
            assert (picture == (0x0A, 0x47, 0xC2)).all(axis=-1).any(), name

    def test_classes(self, drawn):
        table = {(row['class'], row['run']): row['AP_percent'] for row in rows(drawn.out / 'classes.csv')}
        assert float(table['traffic light', 'a_run']) == pytest.approx(40) and table['dog', 'a_run'] == ''
        assert 'At the best validation by bbox AP (epoch 4).' in drawn.page.text('figcaption')

    def test_a_second_call_with_everything_in_the_folder_skips_the_page(self, two, capsys):
        assert run_command('plot', list(map(str, two))) == 0
        both = sorted(two[0].parent.iterdir())
        assert two[0].parent / 'plot' in both
        assert run_command('plot', list(map(str, both))) == 0
        assert 'a_run is better' in capsys.readouterr().out

    def test_a_single_run_has_its_page_in_its_work_dir(self, two, capsys):
        run_command('plot', [str(two[0])])
        assert (two[0] / 'plot' / 'index.html').is_file()
        assert f'page: {two[0]}/plot/index.html' in capsys.readouterr().out

    def test_errors_are_one_line_and_write_nothing(self, two, tmp_path, capsys):
        for arguments in ([tmp_path / 'nothing'], [*two, '--metric', 'AQ'], [*two, '--pictures', '-1']):
            with pytest.raises(SystemExit) as end:
                run_command('plot', [*map(str, arguments), '--out', str(tmp_path / 'new')])
            assert str(end.value.code).startswith('error: ') and '\n' not in end.value.code
        assert not (tmp_path / 'new').exists()


class TestOtherRuns:
    def test_by_iterations(self, plot, tmp_path):
        lines = [training(s, epoch=None, **{'decode.loss_ce': 1.0}) for s in (5, 10, 15, 20)]
        lines += [{'mIoU': 31.5, 'aAcc': 80.0, 'mAcc': 40.0, 'step': 20}]
        config = "train_cfg = dict(max_iters=40, type='IterBasedTrainLoop')"
        out, _, printed = plot(start(tmp_path / 'seg', lines, config=config))
        assert printed.startswith('So far, seg reaches 31.5 mIoU at iteration 20.')
        assert (out / 'decode.loss_ce.png').is_file()

    def test_a_classifier(self, plot, tmp_path):
        lines = [training(20), {'accuracy/top1': 61.25, 'accuracy/top5': 90.0, 'step': 1}]
        assert plot(start(tmp_path / 'cls', lines))[2].startswith('So far, cls reaches 61.2 top-1 accuracy at epoch 1.')

    def test_never_validated_without_config_and_with_nan(self, plot, tmp_path):
        lines = [training(s, loss=float('nan'), memory=None, grad_norm=None) for s in (5, 10)]
        out, page, printed = plot(start(tmp_path / 'r', lines, config=None))
        assert printed.startswith('r has not validated yet.') and 'no copy of the config' in page.text('li')
        assert not (out / 'validations.csv').exists() and not (out / 'loss.png').exists()

    def test_a_detector_and_a_segmentor(self, plot, tmp_path):
        other = start(tmp_path / 's', [training(5, epoch=None), {'mIoU': 30.0, 'step': 5}], config=None)
        assert 'no bbox AP yet' in plot(start(tmp_path / 'd', epochs(1, 4)), other)[2]

    def test_many(self, plot, tmp_path):
        runs = [
            start(tmp_path / f'r{n}', epochs(1, 2, 0.1 + n / 100), config=CONFIG.replace('50', str(n)))
            for n in range(11)
        ]
        assert 'r10 is the best, r9 second' in plot(*runs)[2]

    def test_tests(self, plot, two):
        for stamp, ap in (('20260103_000000', 0.111), ('20260104_000000', 0.222)):
            folder = two[0] / stamp
            folder.mkdir()
            (folder / f'{stamp}.json').write_text(
                json.dumps({'coco/bbox_mAP': ap, 'coco/bbox_mAP_s': -1.0, 'time': 0.1})
            )
        _, page, _ = plot(*two)
        assert 'Tests' in page.text('h2') and '22.2' in page.text('td') and '11.1' not in page.text('td')


class TestPictures:
    @staticmethod
    def draw(file, colour=0):
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.full((40, 1200, 3), colour, np.uint8))

    def test_the_same_images_of_all_runs_side_by_side(self, plot, two):
        for run in two:
            for name in ('x/0.jpg', 'x/1.jpg', 'y/0.jpg'):
                self.draw(run / '20260103_000000' / 'shown' / name)
        self.draw(two[0] / '20260103_000000' / 'shown' / 'only_here.jpg')
        _, page, _ = plot(*two, '--pictures', 2)
        images = [attributes for tag, attributes in page.tags if tag == 'img']
        assert [image['alt'] for image in images] == [
            'x/0.jpg, predictions of a_run', 'x/0.jpg, predictions of b_run',
            'y/0.jpg, predictions of a_run', 'y/0.jpg, predictions of b_run',
        ]  # fmt: skip
        assert all(image['src'].startswith('data:image/jpeg;base64,') for image in images)

    def test_the_newest_test_counts_and_those_of_validations_come_last(self, two, tmp_path):
        runs = read_runs(two)
        self.draw(two[0] / '20260101_000000' / 'vis_data' / 'vis_image' / 'val_img_10.png')
        assert [s.name for s in find_pictures(runs, 9, tmp_path / 'out')] == ['val_img_10.png']
        for stamp in ('20260103_000000', '20260104_000000'):
            self.draw(two[0] / stamp / 'shown' / '0.jpg')
        self.draw(two[0] / 'out' / 'own.png')
        (shown,) = find_pictures(runs, 9, two[0] / 'out')
        assert shown.files == (two[0] / '20260104_000000' / 'shown' / '0.jpg', None)

    def test_one_that_cannot_be_read_is_left_out(self, plot, two):
        self.draw(two[0] / 'shown' / '0.jpg')
        (two[0] / 'shown' / '1.jpg').write_bytes(b'')
        (two[0] / 'shown' / '2.jpg').write_text('no picture')
        (two[0] / 'shown' / '3.jpg').symlink_to('nowhere.jpg')
        huge = struct.pack('>4sIIBBBBB', b'IHDR', 60_000, 60_000, 8, 2, 0, 0, 0)
        header = struct.pack('>I', 13) + huge + struct.pack('>I', zlib.crc32(huge))
        (two[0] / 'shown' / '4.png').write_bytes(b'\x89PNG\r\n\x1a\n' + header + bytes(64))
        assert [tag for tag, _ in plot(*two)[1].tags].count('img') == 1


def test_pictures_of_validation_are_shown(plot, tmp_path):
    run = start(tmp_path / 'r', [training(5), validation(1, 0.2)])
    TestPictures.draw(run / '20260101_000000' / 'vis_data' / 'vis_image' / 'val_img_5.png', 90)
    assert 'Predictions' in plot(run)[1].text('h2')
