"""Annotation and result files that do not match, or would make pycocotools crash: the message names the entry."""

import copy
import json
import random

import numpy as np
import pytest
from ap_case import NAMES, detections, noisy_results

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.data.json_files import MAX_BYTES
from fishnet_mmdet.evaluation import results_files
from fishnet_mmdet.evaluation.coco_eval import evaluate, load_annotations, load_results
from fishnet_mmdet.evaluation.metric import OfficialCocoMetric, finite_rows
from fishnet_mmdet.evaluation.results_files import ResultsError


@pytest.mark.parametrize(
    'change, named',
    [
        (lambda row: row.pop('score'), 'result 0: has no score'),
        (lambda row: row.pop('bbox'), 'result 0: has no bbox'),
        (lambda row: row.update(image_id=999), 'image 999.*belong together'),
        (lambda row: row.update(category_id=99), r'category 99.*\[1, 2, 3\]'),
    ],
)
def test_rows_that_fit_no_annotation_are_named(annotations, change, named):
    truth = load_annotations(annotations)
    rows = noisy_results(truth, np.random.default_rng(0))
    change(rows[0])
    with pytest.raises(ResultsError, match=named):
        evaluate(truth, rows, 'bbox')


def test_files_that_are_not_coco(tmp_path):
    (tmp_path / 'page.json').write_text('<html>')
    (tmp_path / 'object.json').write_text('{}')
    for loader in (load_annotations, load_results):
        for name, reason in (
            ('none.json', 'cannot be read'),
            ('page.json', 'not JSON'),
            ('object.json', 'not'),
        ):
            with pytest.raises(ResultsError, match=f'{name}.*{reason}'):
                loader(tmp_path / name)


class TestUntrusted:
    """Files that would make pycocotools crash, read past its memory, or count wrongly."""

    @staticmethod
    def sound(annotations):
        truth = load_annotations(annotations)
        return truth, noisy_results(truth, np.random.default_rng(0))

    @pytest.mark.parametrize(
        'change, message',
        [
            (lambda row: row.update(score=float('nan')), 'score'),
            (lambda row: row.update(score='0.9'), 'score'),
            (lambda row: row.update(image_id=[1]), 'image'),
            (lambda row: row.update(category_id={}), 'category'),
            (lambda row: row['segmentation'].update(size=[10**6, 10**6]), 'size'),
            (
                lambda row: row['segmentation'].update(counts='012P'),
                'ends within a number',
            ),  # its last number goes on
            (lambda row: row['segmentation'].update(counts='PPPPPPPPPPPPPPPPPPPPPPPP0'), 'more than 32 bits'),
            (lambda row: row['segmentation'].update(counts='\x00'), 'not a compressed RLE'),
            (lambda row: row['segmentation'].update(counts=[96 * 96]), 'not a text'),
            (lambda row: row['segmentation'].update(counts='0'), 'add up'),
            (lambda row: row['segmentation'].update(counts='O'), 'add up'),  # -1
            (lambda row: row.update(segmentation=[[1, 2, 3, 4, 5, 6]]), 'size and counts'),
        ],
    )
    def test_unsound_masks_and_scores(self, annotations, change, message):
        truth, rows = self.sound(annotations)
        change(rows[3])
        with pytest.raises(ResultsError, match=f'result 3.*{message}'):
            evaluate(truth, rows, 'segm')

    @pytest.mark.parametrize('box', [[1, 2, 3], [1, 2, 3, float('inf')], [1, 2, 3, 10**400], ['1', 2, 3, 4], None])
    def test_unsound_boxes(self, annotations, box):
        truth, rows = self.sound(annotations)
        rows[3]['bbox'] = box
        with pytest.raises(ResultsError, match='result 3: bbox is'):
            evaluate(truth, rows, 'bbox')

    @pytest.mark.parametrize(
        'change, message',
        [
            (lambda a: a.update(segmentation=[[0, 0, 1e8, 0, 1e8, 1e8]]), 'far beyond'),
            (lambda a: a.update(segmentation=[]), r'segmentation is \[\]'),
            (lambda a: a.update(segmentation=[[0, 0, 1, 1]]), 'three points'),
            (lambda a: a.update(segmentation={'size': [1, 1], 'counts': '1'}), 'size'),
            (lambda a: a.update(area=None), 'area'),
            (lambda a: a.update(iscrowd=2), 'iscrowd'),
        ],
    )
    def test_unsound_annotations(self, annotations, tmp_path, change, message):
        content = json.loads(annotations.read_text())
        change(content['annotations'][5])
        (tmp_path / 'a.json').write_text(json.dumps(content))
        name = content['annotations'][5]['id']
        with pytest.raises(ResultsError, match=f'annotation {name} .number 5 of the file.*{message}'):
            evaluate(load_annotations(tmp_path / 'a.json'), [], 'segm')
        with pytest.raises(ResultsError, match=message):  # before a run starts
            OfficialCocoMetric(ann_file=str(tmp_path / 'a.json'), metric='segm')

    @pytest.mark.parametrize('key', ['image_id', 'category_id'])
    def test_annotations_of_what_is_not_listed_do_not_count(self, annotations, tmp_path, key, monkeypatch):
        """pycocotools does not look at them either; mmdet's CocoMetric evaluates such files."""
        truth, rows = self.sound(annotations)
        content = json.loads(annotations.read_text())
        content['annotations'].append({**content['annotations'][0], 'id': 0, key: -1})
        (tmp_path / 'a.json').write_text(json.dumps(content))
        said = []
        monkeypatch.setattr(results_files, 'print_log', lambda text, **_: said.append(text))
        odd = load_annotations(tmp_path / 'a.json')
        np.testing.assert_equal(evaluate(odd, rows, 'segm'), evaluate(truth, rows, 'segm'))
        assert said[0].startswith('1 of ') and 'name an image or a category that the annotations do not list' in said[0]

    def test_detections_that_are_not_finite_do_not_count(self, annotations):
        """A single NaN of a detector without a threshold would end the run after its epoch."""
        rows = json.loads(json.dumps([{'image_id': 3, 'bbox': [1.0, 2, 3, 4], 'score': 0.5}] * 4))
        rows[1]['score'], rows[2]['bbox'][0] = float('nan'), float('inf')
        assert finite_rows(rows) == rows[:1] + rows[3:]

    def test_masks_that_the_model_does_not_predict(self, annotations):
        metric = OfficialCocoMetric(str(annotations), ['bbox', 'segm'])
        metric.dataset_meta = dict(classes=NAMES)
        truth = load_annotations(annotations)
        sample = detections(truth, next(iter(truth.imgs)), np.random.default_rng(0), empty=False, copies=1)
        del sample['pred_instances']['masks']
        metric.process({}, [sample])
        with pytest.raises(ConfigError, match="metric = 'segm', and the model predicts no masks"):
            metric.evaluate(1)

    @pytest.mark.parametrize('numbering', ['from 0', 'all the same', 'texts', 'floats', 'no crowd flag'])
    def test_ids_that_pycocotools_counts_wrongly(self, annotations, tmp_path, numbering):
        """To pycocotools an object whose id is 0 is never found, and one of two with the same id is the other."""
        truth, rows = self.sound(annotations)
        content = json.loads(annotations.read_text())
        for number, annotation in enumerate(content['annotations']):
            if numbering == 'no crowd flag':
                del annotation['iscrowd']
            else:
                annotation['id'] = {'from 0': number, 'all the same': 7, 'texts': f'a{number}', 'floats': number / 2}[
                    numbering
                ]
        (tmp_path / 'a.json').write_text(json.dumps(content))
        for iou_type in ('bbox', 'segm'):
            ours = evaluate(load_annotations(tmp_path / 'a.json'), rows, iou_type)
            np.testing.assert_equal(ours, evaluate(truth, rows, iou_type))

    def test_whole_numbers_written_as_floats(self, annotations, tmp_path):
        truth, rows = self.sound(annotations)
        content = json.loads(annotations.read_text())
        for annotation in content['annotations']:
            annotation.update({key: float(annotation[key]) for key in ('id', 'image_id', 'category_id')})
        for image in content['images']:
            image.update({key: float(image[key]) for key in ('id', 'width', 'height')})
        for category in content['categories']:
            category['id'] = float(category['id'])
        (tmp_path / 'a.json').write_text(json.dumps(content))
        for iou_type in ('bbox', 'segm'):
            ours = evaluate(load_annotations(tmp_path / 'a.json'), rows, iou_type)
            np.testing.assert_equal(ours, evaluate(truth, rows, iou_type))

    def test_files_too_large_or_too_deep(self, tmp_path):
        with (tmp_path / 'large.json').open('wb') as file:
            file.truncate(MAX_BYTES + 1)
        (tmp_path / 'deep.json').write_text('[' * 100_000)
        (tmp_path / 'empty.json').touch()
        (tmp_path / 'latin.json').write_bytes(b'["\xff"]')
        for name, message in (
            ('large', 'bytes'),
            ('deep', 'not JSON'),
            ('latin', 'not UTF-8'),
            ('empty', 'zero bytes'),
        ):
            for load in (load_annotations, load_results):
                with pytest.raises(ResultsError, match=f'{name}.json: .*{message}'):
                    load(tmp_path / f'{name}.json')

    @pytest.mark.parametrize('rounds', [400, pytest.param(10_000, marks=pytest.mark.long)])
    def test_any_value_anywhere(self, annotations, tmp_path, rounds):
        """A few values of either file replaced, removed or doubled: figures, or one readable error."""
        content = json.loads(annotations.read_text())
        kept = {image['id'] for image in content['images'][:2]}
        content['images'] = content['images'][:2]
        content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept]
        (tmp_path / 'small.json').write_text(json.dumps(content))
        results = noisy_results(load_annotations(tmp_path / 'small.json'), np.random.default_rng(0))
        rng, refused, counted = random.Random(0), 0, 0
        for number in range(rounds):
            files = {'truth': copy.deepcopy(content), 'results': copy.deepcopy(results)}
            for _ in range(rng.randint(1, 2)):
                spoil(files[rng.choice(['truth', 'results'])], rng)
            for name, file in files.items():
                (tmp_path / f'{name}.json').write_text(json.dumps(file))
            try:
                truth = load_annotations(tmp_path / 'truth.json')
                figures, _ = evaluate(truth, load_results(tmp_path / 'results.json'), rng.choice(['bbox', 'segm']))
                counted += 1
                assert not any(value < 0 or value > 1 for value in figures.values()), number
            except ResultsError as error:
                refused += 1
                assert len(str(error)) < 1000, number
        assert refused > rounds / 4 and counted > rounds / 10


ODD_VALUES = (
    None, True, -1, 0, 1, 2, 0.5, 1e9, -1e300, 10**30, 10**400, float('nan'), float('inf'), '', 'x', '0', 'P', '\x00',
    [], {}, [[]], [0], [1, 2, 3, 4], [[1, 2, 3, 4, 5, 6]],
    {'size': [96, 96], 'counts': 'P'}, {'size': [96, 96], 'counts': [96]},
)  # fmt: skip


def spoil(node, rng):
    """Walks down at random, and replaces, removes, doubles or cuts what it comes to."""
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        value = node[key]
        if isinstance(value, dict | list) and value and rng.random() < 0.9:
            node = value
            continue
        how = rng.random()
        if isinstance(value, str) and how < 0.3:
            node[key] = value[: rng.randrange(len(value) + 1)] + rng.choice(['', 'o', 'P', '0', '~'])
        elif how < 0.7:
            node[key] = rng.choice(ODD_VALUES)
        elif how < 0.85:
            del node[key]
        elif isinstance(node, list):
            node.append(copy.deepcopy(value))
        return
