"""Boxes written as corners where COCO wants width and height, in files that hold boxes alone."""

from drawn_case import SPLITS, corners

from fishnet_mmdet.preflight import examine


def kinds(case, splits=SPLITS):
    case.write()
    return [(f.kind, f.where) for f in examine(case.cfg, splits, weights=False).findings]


class TestBoxesAsCorners:
    """Files of boxes alone: no mask says which reading is right."""

    def boxes(self, case, area=None):
        for split in SPLITS:
            for step in case.loader(split).pipeline:
                step.pop('with_mask', None)
            if split != 'train':
                case.cfg[f'{split}_evaluator'].metric = 'bbox'
        for row in case.annotations:
            x, y, w, h = row['bbox']
            row.update(bbox=[x, y, x + w, y + h], iscrowd=0, area=area or w * h)

    def found(self, case):
        return {kind for kind, _ in kinds(case, ['train'])} - {'box-over-edge'}

    def test_by_their_areas(self, make_case):
        case = make_case()
        self.boxes(case)
        for row in case.annotations:
            row['segmentation'] = []
        assert self.found(case) == {'box-corners'}

    def test_by_their_polygons(self, make_case):
        case = make_case()
        for row in case.annotations:
            row['segmentation'] = [corners(row['bbox'])]
        self.boxes(case, area=77)
        assert self.found(case) == {'box-corners'}

    def test_by_where_they_lie(self, make_case):
        case = make_case()
        self.boxes(case)
        for row in case.annotations:
            row.update(segmentation=[], area=row['bbox'][2] * row['bbox'][3])
        assert self.found(case) == {'box-corners'}

    def test_sound_boxes_are_not(self, make_case):
        case = make_case()
        self.boxes(case)
        for row in case.annotations:
            x, y, right, bottom = row['bbox']
            row.update(bbox=[x, y, right - x, bottom - y], segmentation=[])
        assert self.found(case) == set()
