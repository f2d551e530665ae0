"""Drawn predictions: every object is seen, and labels do not hide objects, at any size of picture."""

import cv2
import numpy as np
import pytest

from fishnet_mmdet.deploy import Prediction
from fishnet_mmdet.deploy.infer import drawing
from fishnet_mmdet.deploy.infer.drawing import as_picture, color_of, draw

NAMES = ('größe', '鱼', 'dining table', 'cup', 'person')


def scene(boxes, height, width, labels=None, masks=True, names=NAMES):
    """A prediction of ellipses in boxes, (N, 4), with falling scores."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    filled = np.zeros((len(boxes), height, width), np.uint8)
    for mask, (left, top, right, bottom) in zip(filled, boxes.astype(int), strict=True):
        middle, axes = ((left + right) // 2, (top + bottom) // 2), ((right - left) // 2, (bottom - top) // 2)
        cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, -1)
    labels = np.arange(len(boxes)) % len(names) if labels is None else np.array(labels)
    scores = np.linspace(0.95, 0.3, len(boxes), dtype=np.float32)
    shown = tuple(names[label] for label in labels)
    return Prediction(boxes, scores, labels, shown, filled.astype(bool) if masks else None, height, width)


def crowd(height, width, masks=True, count=60):
    """Objects of all sizes anywhere, of which many touch or overlap."""
    rng = np.random.default_rng(height)
    sides = (rng.uniform(0.02, 0.3, (count, 2)) ** 1.5 * 2 + 0.03) * (width, height)
    corners = rng.uniform(0, 1, (count, 2)) * (width - sides[:, 0].max(), height - sides[:, 1].max())
    return scene(np.concatenate((corners, corners + sides), 1), height, width, masks=masks)


def cells(height=256, width=256, side=16, step=32):
    """Small objects of one class, apart from each other."""
    tops, lefts = np.mgrid[8 : height - side : step, 8 : width - side : step].reshape(2, -1)
    boxes = np.stack((lefts, tops, lefts + side, tops + side), 1)
    return scene(boxes, height, width, labels=np.zeros(len(boxes), int), names=('nucleus',))


@pytest.fixture
def labels(monkeypatch):
    """The labels of the newest call of `draw`."""
    kept, write = [], drawing.write_labels

    def keep(picture, labels):
        kept[:] = labels
        return write(picture, labels)

    monkeypatch.setattr(drawing, 'write_labels', keep)
    return kept


@pytest.fixture
def without_text(monkeypatch):
    """`draw` without its labels."""

    def drawn(*arguments, **settings):
        with monkeypatch.context() as patch:
            patch.setattr(drawing, 'write_labels', lambda picture, labels: picture)
            return draw(*arguments, **settings)

    return drawn


class TestText:
    @pytest.mark.parametrize('masks', [True, False])
    @pytest.mark.parametrize('height, width', [(48, 64), (256, 256), (480, 640), (1500, 2000)])
    def test_it_hides_no_object(self, height, width, masks, without_text, labels):
        found = crowd(height, width, masks, count=60 if width < 1000 else 12)
        plain = np.zeros((height, width, 3), np.uint8)
        drawn = draw(plain, found, legend=False)
        texts = (drawn != without_text(plain, found, legend=False)).any(2)
        factor = len(drawn) // height
        for number in range(len(found)):
            left, top, right, bottom = np.round(found.boxes[number] * factor).astype(int)
            inside = np.zeros_like(texts)
            inside[top:bottom, left:right] = True
            if masks:
                inside = found.masks[number].repeat(factor, 0).repeat(factor, 1)
            assert texts[inside].mean() <= 0.05
        assert labels and texts.mean() <= 0.1

    def test_labels_do_not_overlap(self, labels):
        draw(np.zeros((480, 640, 3), np.uint8), crowd(480, 640))
        seen = np.zeros((480, 640), int)
        for label in labels:
            left, top, right, bottom = label.box
            seen[top:bottom, left:right] += 1
        assert len(labels) > 20 and seen.max() == 1

    def test_none_where_there_is_no_place(self, labels):
        """Objects side by side over all of the picture."""
        tops, lefts = np.mgrid[0:256:16, 0:256:16].reshape(2, -1)
        found = scene(np.stack((lefts, tops, lefts + 16, tops + 16), 1), 256, 256, masks=False)
        draw(np.zeros((256, 256, 3), np.uint8), found)
        assert not labels

    def test_objects_of_one_class_need_no_name(self, labels):
        found = cells()
        draw(np.zeros((256, 256, 3), np.uint8), found, by_object=True)
        assert {label.text for label in labels} <= {f'{score:.2f}' for score in found.scores}
        assert len(labels) > len(found) / 2

    def test_the_score_alone_where_there_is_no_place_for_the_name(self, labels):
        """Two columns of objects; the gap between them is as wide as a score."""
        boxes = [(x, y, x + 100, y + 100) for y in (0, 100, 200, 300, 400) for x in (0, 130)]
        found = scene(boxes, 500, 230, labels=[2] * 10, masks=False)
        draw(np.zeros((500, 230, 3), np.uint8), found)
        assert {'0.95', '0.88'} & {label.text for label in labels}

    def test_it_grows_with_the_picture_and_shrinks_with_the_object(self, labels):
        sizes = []
        for side in (512, 3000):
            large, small = (0.2, 0.2, 0.6, 0.6), (0.8, 0.8, 0.82, 0.82)
            draw(np.zeros((side, side, 3), np.uint8), scene(np.array([large, small]) * side, side, side))
            sizes.append([label.size for label in labels])
        assert sizes == [[11, 9], [67, 40]]


class TestLegend:
    def test_it_lists_classes_that_no_label_names(self):
        found, plain = crowd(96, 128, count=100), np.zeros((96, 128, 3), np.uint8)
        drawn = draw(plain, found)
        height = 4 * 96
        assert drawn.shape[1] == 4 * 128 and drawn.shape[0] > height
        strip = {tuple(color) for color in drawn[height:].reshape(-1, 3).tolist()}
        assert {color_of(label) for label in range(len(NAMES))} <= strip
        assert np.array_equal(drawn[:height], draw(plain, found, legend=False))

    def test_none_if_each_class_has_a_label(self):
        found = scene([(40, 40, 100, 100), (200, 200, 300, 300)], 480, 640)
        assert draw(np.zeros((480, 640, 3), np.uint8), found).shape == (480, 640, 3)

    def test_none_for_a_single_class(self):
        assert draw(np.zeros((256, 256, 3), np.uint8), cells(step=16), by_object=True).shape == (512, 512, 3)

    def test_as_many_rows_as_it_needs(self):
        names = [f'a class with a long name {number}' for number in range(30)]
        boxes = [(x, y, x + 40, y + 40) for y in range(0, 200, 40) for x in range(0, 240, 40)]
        found = scene(boxes, 200, 240, masks=False, names=names)
        assert len(draw(np.zeros((200, 240, 3), np.uint8), found)) >= 3 * 200 + 30 / 3 * 10


class TestObjects:
    @pytest.mark.parametrize('threshold', [0.0, 0.5, 0.9, 1.0])
    def test_as_many_as_have_the_score(self, threshold, without_text):
        found, plain = cells(), np.zeros((256, 256, 3), np.uint8)
        drawn = without_text(plain, found.above(threshold), by_object=True)
        parts = cv2.connectedComponents(drawn.max(2))[0] - 1
        assert parts == (found.scores >= threshold).sum()

    def test_no_object_is_lost_under_others(self, without_text):
        """Small objects with low scores in a large one."""
        boxes = [(10, 10, 246, 246)] + [(x, x, x + 12, x + 12) for x in range(30, 220, 20)]
        found = scene(boxes, 256, 256)
        drawn = without_text(np.zeros((256, 256, 3), np.uint8), found, by_object=True)
        seen = {tuple(color) for color in drawn.reshape(-1, 3).tolist()}
        assert {color_of(number) for number in range(len(found))} <= seen

    def test_masks_boxes_and_labels(self):
        plain = np.full((480, 640, 3), 40, np.uint8)
        found = scene([(10, 50, 110, 150), (200, 200, 400, 400)], 480, 640)
        drawn = draw(plain, found)
        assert (plain == 40).all() and (drawn[420:, 500:] == 40).all()
        for (left, top, right, bottom), key in zip(found.boxes.astype(int), (0, 1), strict=True):
            assert drawn[bottom, left + 5].tolist() == list(color_of(key))
            inside = drawn[(top + bottom) // 2, (left + right) // 2]
            np.testing.assert_allclose(inside, 40 * 0.55 + np.array(color_of(key)) * 0.45, atol=1)
            # The label above the box.
            assert (drawn[top - 8 : top - 2, left + 2 : left + 20] != 40).any()

    def test_without_masks_and_outside_the_picture(self):
        found = scene([(10, 30, 40, 60), (50, 40, 90, 80)], 96, 120, masks=False)
        found.boxes[0] = [-1e9, -50, 1e9, np.nan]
        assert draw(np.zeros((96, 120, 3), np.uint8), found).any()

    def test_empty_masks_and_boxes(self):
        found = scene([(10, 30, 40, 60), (50, 40, 50, 40)], 96, 120)
        found.masks[:] = False
        assert draw(np.zeros((96, 120, 3), np.uint8), found).any()

    def test_objects_of_a_single_class_have_their_own_colors(self):
        found, plain = cells(), np.zeros((256, 256, 3), np.uint8)
        by_class, by_object = draw(plain, found), draw(plain, found, by_object=True)
        assert by_class[32, 32].tolist() == by_class[32, 96].tolist()
        assert by_object[32, 32].tolist() != by_object[32, 96].tolist()

    def test_close_hues_of_coco_differ_in_tone(self):
        """Wine glass and pizza, chair and knife: their hues are 0.03 apart."""
        for pair in ((40, 53), (56, 43)):
            one, other = (np.array(color_of(key)) for key in pair)
            assert np.abs(one - other).max() > 50


class TestPictures:
    @pytest.mark.parametrize(
        'size, factor', [((64, 64), 4), ((180, 180), 4), ((256, 320), 2), ((360, 360), 2), ((361, 20), 1), ((1, 1), 4)]
    )
    def test_small_ones_are_enlarged(self, size, factor):
        nothing = scene([], *size)
        drawn = draw(np.full((*size, 3), 7, np.uint8), nothing)
        assert drawn.shape == (size[0] * factor, size[1] * factor, 3) and (drawn == 7).all()

    @pytest.mark.parametrize(
        'image, expected',
        [
            (np.full((4, 6), 9, np.uint8), 9),
            (np.full((4, 6, 1), 9, np.uint8), 9),
            (np.full((4, 6, 5), 9, np.uint8), 9),
            (np.full((4, 6, 3), 9 * 257, np.uint16), 9),
            (np.full((4, 6, 3), 300.0, np.float32), 255),
        ],
    )
    def test_images_of_any_kind(self, image, expected):
        drawn = as_picture(image)
        assert drawn.shape == (4, 6, 3) and drawn.dtype == np.uint8 and (drawn == expected).all()
