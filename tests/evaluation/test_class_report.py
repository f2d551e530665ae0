"""AP of classes: found in the output of evaluators, as a table and as a picture."""

import json
import logging
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from mmdet.datasets import CocoDataset
from rich.console import Console

from fishnet_mmdet.evaluation.ap_report import APReport
from fishnet_mmdet.evaluation.class_plot import draw_classes
from fishnet_mmdet.evaluation.class_report import ClassAPReport
from fishnet_mmdet.evaluation.class_rows import ClassRow, best_first, class_figures, class_table

NAN = float('nan')


class TestFigures:
    @pytest.mark.parametrize('prefix', ['coco/', '', 'teacher/coco/', 'Night/rear/'])
    def test_boxes_and_masks(self, prefix):
        keys = ('bbox_mAP', 'bbox_car_precision', 'segm_mAP', 'segm_car_precision', 'car_precision', 'bbox_mAP_50')
        assert class_figures({prefix + key: 0.1 * n for n, key in enumerate(keys)}) == {
            prefix: {'car': {'bbox AP': 0.1, 'segm AP': pytest.approx(0.3)}}
        }

    def test_one_type(self):
        metrics = {'coco/segm_mAP': 0.5, 'coco/car_precision': 0.5, 'coco/Awning/Parasol_precision': NAN, 'time': 1}
        assert class_figures(metrics) == {'coco/': {'car': {'segm AP': 0.5}, 'Awning/Parasol': {'segm AP': None}}}

    def test_mmdets_own_metric_gives_the_last_type(self):
        metrics = {'coco/car_precision': -1, 'coco/bbox_mAP': 0.5, 'coco/segm_mAP': 0.5}
        assert class_figures(metrics) == {'coco/': {'car': {'segm AP': None}}}

    def test_of_lvis(self):
        """mmdet's LVISMetric has other names for its figures."""
        metrics = {'lvis/bbox_AP': 0.5, 'lvis/bbox_APr': 0.1, 'lvis/car_precision': 0.75}
        assert class_figures(metrics) == {'lvis/': {'car': {'bbox AP': 0.75}}}
        (row,) = APReport().measured(metrics | {'lvis/bbox_APs': 0.25}, 'epoch 1')
        assert row.kind == 'bbox, lvis' and row.figures == {'AP': 0.5, 'AP_S': 0.25}

    def test_a_class_named_like_a_type(self):
        names = ('bbox_x', 'bbox_bbox_x', 'segm_bbox_x')
        metrics = {f'{name}_precision': 0.25 for name in names} | {'bbox_mAP': 0.25, 'segm_mAP': 0.25}
        assert class_figures(metrics) == {'': {'bbox_x': {'bbox AP': 0.25, 'segm AP': 0.25}}}

    def test_several_evaluators(self):
        metrics = {f'{p}{key}': 0.5 for p in ('A/coco/', 'B/coco/', '') for key in ('bbox_mAP', 'car_precision')}
        assert class_figures(metrics) == {p: {'car': {'bbox AP': 0.5}} for p in ('A/coco/', 'B/coco/', '')}

    def test_none(self):
        assert class_figures({'coco/bbox_mAP': 0.5, 'time': 1.0, 'other_precision': 1.0, 'accuracy/top1': 9}) == {}


def rows(names, figures=('bbox AP', 'segm AP')):
    rng = np.random.default_rng(0)
    return [ClassRow(name, int(rng.integers(1, 9999)), {f: float(rng.random()) for f in figures}) for name in names]


class TestTable:
    def test_names_are_shown_as_they_are(self):
        """Rich would obey the brackets, and a terminal the escape."""
        rows = [ClassRow(name, 1, {'AP': 0.5}) for name in ('car [rear]', 'sign [/stop]', 'esc\x1b[31m')]
        console = Console(width=120, color_system=None)
        with console.capture() as capture:
            console.print(class_table(rows, 'of [/x]').on_screen())
        for shown in ('car [rear]', 'sign [/stop]', 'esc\\x1b[31m', 'of [/x]'):
            assert shown in capture.get()

    def test_best_first_and_absent_last(self):
        drawn = [ClassRow('none', 0, {'AP': None}), ClassRow('bad', 4, {'AP': 0.0}), ClassRow('good', 1200, {'AP': 1})]
        drawn.append(ClassRow('rare', 2, {'AP': 1}))
        drawn.reverse()
        table = class_table(best_first(drawn), 'T')
        grid = [line.split(' | ') for line in table.markdown_grid().splitlines()[2:]]
        good = [['| good', '1,200', '100.0 |'], ['| rare', '2', '100.0 |']]
        assert grid == [*good, ['| bad', '4', '0.0 |'], ['| none', '0', '- |']]


class TestPicture:
    @pytest.mark.parametrize('count, columns', [(1, 1), (43, 2), (85, 3)])
    def test_a_column_for_each_42_classes(self, tmp_path, count, columns):
        figure = draw_classes(rows([f'class {n}' for n in range(count)], ['bbox AP']), 'T', tmp_path / 'p.png')
        assert len(figure.axes) == columns
        shown = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
        assert [text.split('  ')[0] for text in shown] == [f'class {n}' for n in range(count)]

    def test_nothing_overlaps(self, tmp_path):
        """Long names and their numbers, in the picture as it is drawn."""
        names = [f'class {n} $of_a$ long \\name with many words that goes on' for n in range(50)]
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            figure = draw_classes(rows(names), 'Title', tmp_path / 'p.png')
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        for axes in figure.axes:
            boxes = [label.get_window_extent(renderer) for label in axes.get_yticklabels()]
            assert all(upper.y0 >= lower.y1 for upper, lower in zip(boxes, boxes[1:], strict=False))
            assert min(box.x0 for box in boxes) >= 0
            values = [text.get_window_extent(renderer) for text in axes.texts]
            # Those of boxes come first, then those of masks.
            half = len(values) // 2
            places = [box for pair in zip(values[:half], values[half:], strict=True) for box in pair]
            assert all(upper.y0 >= lower.y1 - 1 for upper, lower in zip(places, places[1:], strict=False))
        assert imread(tmp_path / 'p.png').shape[1] < 2000

    def test_a_thousand_classes_are_the_ends_and_their_distribution(self, tmp_path):
        many = [ClassRow(f'class {n}', n + 1, {'bbox AP': max(0, (900 - n) / 1000)}) for n in range(1199)]
        many += [ClassRow(f'absent {n}', 0, {'bbox AP': None}) for n in range(4)]
        figure = draw_classes(many, 'T', tmp_path / 'p.png')
        best, worst, spread, by_objects = figure.axes
        assert '1,123 classes are left out' in figure.get_suptitle()
        for axes, names in ((best, range(40)), (worst, range(1198, 1158, -1))):
            shown = [label.get_text() for label in axes.get_yticklabels()]
            assert shown == [f'class {n}  ({n + 1:,})' for n in names]
        labels, counts = ([text.get_text() for text in of] for of in (spread.get_yticklabels(), spread.texts))
        assert dict(zip(labels, counts, strict=True)) == {
            '90 to 100': '1', **{f'{t}0 to {t + 1}0': '100' for t in range(1, 9)},
            'above 0 to 10': '99', 'exactly 0': '299', 'no object': '4',
        }  # fmt: skip
        assert by_objects.get_yticklabels()[0].get_text() == '1 to 9 objects (9 classes)'
        assert by_objects.texts[0].get_text() == '89.6'
        assert max(imread(tmp_path / 'p.png').shape) < 2500

    def test_a_thousand_classes_of_unknown_numbers_or_without_objects(self, tmp_path):
        unknown = [ClassRow(f'class {n}', None, {'AP': 0.5}) for n in range(200)]
        assert len(draw_classes(unknown, 'T', tmp_path / 'p.png').axes) == 3
        none = [ClassRow(f'class {n}', 0, {'AP': None}) for n in range(200)]
        assert '200 classes are left out' in draw_classes(none, 'T', tmp_path / 'p.png').get_suptitle()

    def test_a_class_without_objects(self, tmp_path):
        figure = draw_classes([*rows(['car']), ClassRow('tram', 0, dict.fromkeys(('bbox AP', 'segm AP')))], 'T',
                              tmp_path / 'p.png')  # fmt: skip
        (axes,) = figure.axes
        assert [text.get_text() for text in axes.texts][1::2] == ['no object', 'no object']
        assert all(bar.get_width() >= 0 for bar in axes.patches)


class TestReport:
    def data(self, root, split):
        file = root / 'annotations' / f'instances_{split}.json'
        metainfo = dict(classes=('disc', 'box', 'triangle'))
        return CocoDataset(ann_file=str(file), metainfo=metainfo, data_prefix=dict(img=''), test_mode=True)

    def objects(self, root, *splits):
        files = [json.loads((root / 'annotations' / f'instances_{split}.json').read_text()) for split in splits]
        classes = [a['category_id'] for file in files for a in file['annotations'] if not a['iscrowd']]
        return {name: classes.count(number) for number, name in enumerate(('disc', 'box', 'triangle'), start=1)}

    def written(self, tmp_path, data, prefixes, evaluator=SimpleNamespace(metrics=[])):  # noqa: B008
        metrics = {f'{p}coco/bbox_mAP': 0.5 for p in prefixes}
        for number, prefix in enumerate(prefixes):
            metrics |= {f'{prefix}coco/disc_precision': 0.5 + number / 10, f'{prefix}coco/box_precision': NAN}
        runner = SimpleNamespace(
            work_dir=tmp_path, experiment_name='x', logger=logging.getLogger('quiet'),
            test_dataloader=SimpleNamespace(dataset=data), test_evaluator=evaluator,
        )  # fmt: skip
        ClassAPReport().after_test_epoch(runner, metrics)
        content = json.loads((tmp_path / 'ap_by_class_test.json').read_text(), parse_constant=pytest.fail)
        return [(t['title'], {row['class']: (row['objects'], row['bbox AP']) for row in t['rows']}) for t in content]

    def test_one_data_set(self, demo_data, tmp_path):
        objects = self.objects(demo_data, 'train')
        ((title, found),) = self.written(tmp_path, self.data(demo_data, 'train'), [''])
        assert title == 'AP by class, percent, x'
        assert found == {'disc': (objects['disc'], 50), 'box': (objects['box'], None)}
        assert (tmp_path / 'ap_by_class_test.png').stat().st_size > 1000
        assert f'| disc | {objects["disc"]} | 50.0 |' in (tmp_path / 'ap_by_class_test.md').read_text()

    def test_teacher_and_student_share_the_data(self, demo_data, tmp_path):
        objects = self.objects(demo_data, 'val')
        tables = self.written(tmp_path, self.data(demo_data, 'val'), ['teacher/', 'student/'])
        assert [title for title, _ in tables] == [f'AP by class, percent, x, {who}' for who in ('teacher', 'student')]
        assert [found['disc'] for _, found in tables] == [(objects['disc'], 50), (objects['disc'], 60)]
        assert {path.name for path in tmp_path.glob('*.png')} == {
            'ap_by_class_test_teacher.png', 'ap_by_class_test_student.png',
        }  # fmt: skip

    def test_each_data_set_has_its_own_objects(self, demo_data, tmp_path):
        both = SimpleNamespace(datasets=[self.data(demo_data, split) for split in ('train', 'val')])
        metrics = 2 * [SimpleNamespace(prefix='coco')]
        evaluator = SimpleNamespace(dataset_prefixes=['A', 'A/2'], metrics=metrics)
        (_, first), (_, second) = self.written(tmp_path, both, ['A/', 'A/2/'], evaluator)
        assert first['disc'] == (self.objects(demo_data, 'train')['disc'], 50)
        assert second['disc'] == (self.objects(demo_data, 'val')['disc'], 60)

    def test_a_metric_that_counts_is_asked(self, demo_data, tmp_path):
        """The one of the prefix; a data set leaves out objects smaller than a pixel, and pycocotools does not."""
        metrics = [SimpleNamespace(prefix=p, objects=dict(disc=n)) for p, n in (('co', 1), ('coco', 2), ('my/coco', 3))]
        evaluator = SimpleNamespace(metrics=metrics)
        ((_, found),) = self.written(tmp_path, None, ['teacher/'], evaluator)
        assert found['disc'] == (2, 50)

    def test_without_figures_of_classes_nothing_happens(self, tmp_path):
        ClassAPReport().after_val_epoch(SimpleNamespace(work_dir=tmp_path), {'coco/bbox_mAP': 0.5})
        assert not any(tmp_path.iterdir())


def test_the_flag_where_no_evaluator_has_classes(tmp_path, call_tool):
    done = call_tool('tools/test.py', 'configs/mask_rcnn_fishnet_demo.py', tmp_path / 'x.pth', '--classwise',
                     '--work-dir', tmp_path, '--cfg-options', 'test_evaluator.type=VOCMetric')  # fmt: skip
    assert done.returncode == 1 and '--classwise: test_evaluator must hold OfficialCocoMetric' in done.stderr
    assert done.stderr.rstrip().endswith('the evaluators of this config are: VOCMetric')
    assert not list(tmp_path.iterdir())
