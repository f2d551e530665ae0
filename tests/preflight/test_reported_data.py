"""Data as people reported them: sound data are not refused or damaged, and the advice leads to the fix."""

import errno
import io
import json
from pathlib import Path

import mmcv
import numpy as np
import pytest
from annotation_defects import judged_by_mmdet
from drawn_case import SIDE, SPLITS, as_png, corners
from image_defects import png_without_its_end
from mmdet.utils import register_all_modules
from PIL import Image, PngImagePlugin

from fishnet_mmdet import UserError
from fishnet_mmdet.preflight import PreflightError, check, examine
from fishnet_mmdet.preflight.images import inspect_image
from fishnet_mmdet.preflight.readers import Reader

register_all_modules(init_default_scope=True)


def kinds(case, splits=SPLITS):
    case.write()
    return [(f.kind, f.where) for f in examine(case.cfg, splits, weights=False).findings]


class TestWhatTheReaderReadsIsAnImage:
    def test_a_png_with_long_metadata(self, make_case):
        case = make_case()
        path = case.path(as_png(case, 'RGB'))
        note = PngImagePlugin.PngInfo()
        note.add_text('history', 'x' * 2**21, zip=True)
        Image.open(path).save(path, pnginfo=note)
        with pytest.raises(ValueError, match='MAX_TEXT_CHUNK'):
            Image.open(path).load()
        assert kinds(case) == []

    @pytest.mark.parametrize('block', [b'\0' * 8, b'IIU\0\x18\0\0\0', b'II*\0', b'MM\0*\0\0\0\x08\xff\xff'])
    def test_a_jpeg_with_a_broken_exif_block(self, make_case, block):
        case = make_case()
        path = case.path(case.image())
        Image.open(path).save(path, 'JPEG', exif=b'Exif\0\0' + block)
        assert mmcv.imread(path).shape[:2] == (SIDE, SIDE) and kinds(case) == []

    def test_an_exif_tag_that_the_reader_does_not_apply(self, tmp_path):
        """OpenCV does not rotate AVIF; a picture that it does not change is not reported."""
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new('RGB', (SIDE, SIDE // 2)).save(tmp_path / 'a.webp', exif=exif)
        state = inspect_image(tmp_path / 'a.webp')
        height, width = mmcv.imread(tmp_path / 'a.webp').shape[:2]
        read = (state.height, state.width) if state.orientation >= 5 else (state.width, state.height)
        assert not state.problem and read == (width, height)

    def test_the_backend_of_the_pipeline_decides(self, make_case):
        """Pillow reads a PNG without its last chunk, OpenCV does not."""
        case = make_case()
        png_without_its_end(case)
        assert kinds(case) == [('image-truncated', 'train')]
        case.loader().pipeline[0].imdecode_backend = 'pillow'
        assert kinds(case) == []

    def test_a_cut_animation_is_truncated_for_opencv_only(self, tmp_path):
        frames = [Image.fromarray(np.full((9, 9), value, np.uint8)) for value in (0, 200)]
        content = io.BytesIO()
        frames[0].save(content, 'GIF', save_all=True, append_images=frames[1:])
        (tmp_path / 'a.gif').write_bytes(content.getvalue()[:-5])
        assert inspect_image(tmp_path / 'a.gif').problem == 'image-truncated'
        assert not inspect_image(tmp_path / 'a.gif', Reader('pillow')).problem

    def test_a_file_that_may_not_be_read_is_broken(self, make_case, monkeypatch):
        """Root reads any file, so a failing `open` stands in for the permission."""
        case, real = make_case(), open
        path = case.path(case.image())

        def denied(file, *args, **kwargs):
            if str(file) == str(path):
                raise PermissionError(errno.EACCES, 'Permission denied', str(path))
            return real(file, *args, **kwargs)

        monkeypatch.setattr('builtins.open', denied)
        state = inspect_image(path)
        assert (state.problem, state.detail) == ('image-broken', f'{path} cannot be opened: Permission denied')

    @pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'GIF', 'WEBP', 'BMP', 'JPEG2000'])
    def test_files_without_their_last_bytes(self, make_case, kind):
        case = make_case()
        path = case.path(case.image())
        Image.open(path).copy().save(path, kind)
        path.write_bytes(path.read_bytes()[:-3])
        assert kinds(case) == [('image-truncated', 'train')]

    def test_a_step_that_is_not_known_reads_the_images(self, make_case):
        case = make_case()
        case.path(case.image()).write_bytes(b'\x93NUMPY')
        for step in case.loader().pipeline:
            if step.type == 'LoadImageFromFile':
                step.type = 'LoadArrays'
        assert kinds(case, ['train']) == [('not-checked', 'train')]


class TestIds:
    @pytest.mark.parametrize('name', ['text {}', '{}.0', '{}.5'])
    def test_of_annotations_only_have_to_differ(self, make_case, name):
        case = make_case(split='val')
        for number, row in enumerate(case.annotations):
            row['id'] = name.format(number) if 'text' in name else float(name.format(number))
        assert kinds(case) == []

    def test_written_as_whole_floats(self, make_case):
        case = make_case(split='val')
        for row in case.annotations:
            row.update(image_id=float(row['image_id']), category_id=float(row['category_id']))
        for image in case.images:
            image.update(id=float(image['id']), width=float(image['width']), height=float(image['height']))
        for category in case.data['val']['categories']:
            category['id'] = float(category['id'])
        assert kinds(case) == []

    def test_skip_bad_numbers_them_again(self, make_case):
        case = make_case()
        before = len(case.annotations)
        for row in case.annotations:
            row['id'] = 1 + sum(other['image_id'] == row['image_id'] for other in case.annotations if other is not row)
        sound = [{**row, 'id': None} for row in case.annotations]
        assert 'annotation-id-twice' in {kind for kind, _ in kinds(case)}
        report = check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        assert 'left out 0 entries' in report.text() and 'numbered again' in report.text()
        cleaned = json.loads(Path(case.loader().ann_file).read_text())['annotations']
        assert [row['id'] for row in cleaned] == list(range(1, before + 1))
        assert [{**row, 'id': None} for row in cleaned] == sound

    def test_skip_bad_still_leaves_out_what_is_bad(self, make_case):
        case = make_case()
        case.annotations[0]['bbox'][2] = -4
        case.annotations[2]['id'] = case.annotations[1]['id']
        case.write()
        check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        cleaned = json.loads(Path(case.loader().ann_file).read_text())['annotations']
        assert [row['bbox'] for row in cleaned] == [row['bbox'] for row in case.annotations[1:]]


class TestSwitches:
    def test_an_error_becomes_a_warning(self, make_case):
        case = make_case()
        row = case.annotation(polygon=True)
        row['segmentation'] = [[v / SIDE for v in corners(row['bbox'])]]
        case.write()
        with pytest.raises(PreflightError, match=r'preflight.ignore=\[mask-box\]'):
            check(case.cfg, SPLITS, weights=False)
        case.cfg.preflight = dict(ignore=['mask-box'])
        report = check(case.cfg, SPLITS, weights=False)
        assert 'warning [mask-box]' in report.text() and not report.errors
        check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        cleaned = json.loads(Path(case.loader().ann_file).read_text())
        assert row in cleaned['annotations']

    def test_a_kind_that_does_not_exist(self, make_case):
        case = make_case()
        case.cfg.preflight = dict(ignore='mask-boxes')
        with pytest.raises(UserError, match="'mask-boxes' is not a kind.*'mask-box' meant"):
            examine(case.cfg, SPLITS, weights=False)

    def test_an_annotation_file_beyond_the_limit_is_not_checked(self, make_case):
        case = make_case()
        with (case.root / 'annotations/instances_train.json').open('r+b') as file:
            file.truncate(2**31 + 2**20)
        report = examine(case.cfg, ['train'], weights=False)
        assert [f.kind for f in report.findings] == ['not-checked'] and not report.errors
        assert 'max_gib=3' in report.text()

    def test_a_larger_limit_has_it_checked(self, make_case):
        case = make_case()
        case.cfg.preflight = dict(max_gib=1e-9)
        assert {kind for kind, _ in kinds(case)} == {'not-checked'}
        case.cfg.preflight = dict(max_gib=1)
        assert kinds(case) == []


class TestAdvice:
    def test_a_root_category_is_named(self, make_case):
        case = make_case()
        case.data['train']['categories'].insert(0, dict(id=0, name='box'))
        assert kinds(case) == [('category-twice', 'train')]
        text = examine(case.cfg, ['train'], weights=False).text()
        assert 'category 0 has no annotation: delete it' in text

    @pytest.mark.parametrize('how', ['no list', 'an empty list'])
    def test_test_data_without_annotations(self, make_case, how):
        case = make_case(split='val')
        case.data['val'].pop('annotations')
        if how == 'an empty list':
            case.data['val']['annotations'] = []
        case.write()
        text = examine(case.cfg, ['test'], weights=False).text()
        assert '[no-objects] test' in text and 'format_only=True' in text and 'outfile_prefix' in text
        assert 'annotate at least one' not in text

    def test_training_data_without_annotations(self, make_case):
        case = make_case()
        case.annotations.clear()
        case.write()
        text = examine(case.cfg, ['train'], weights=False).text()
        assert 'annotate at least one' in text and 'format_only' not in text

    def test_negative_images_are_counted(self, make_case):
        case = make_case()
        kept = case.annotations[0]['image_id']
        case.data['train']['annotations'] = [row for row in case.annotations if row['image_id'] == kept]
        case.write()
        assert examine(case.cfg, ['train'], weights=False).checked[0].startswith('train: 8 images in')
        case.loader().filter_cfg = dict(filter_empty_gt=True)
        assert '8 images' in examine(case.cfg, ['train'], weights=False).checked[0]
        assert '(1 of them are used: filter_cfg=' in examine(case.cfg, ['train'], weights=False).checked[0]

    def test_ids_that_are_texts_in_one_place_and_numbers_in_another(self, make_case):
        case = make_case()
        case.annotations[0]['image_id'] = str(case.annotations[0]['image_id'])
        case.write()
        text = examine(case.cfg, ['train'], weights=False).text()
        assert '[image-absent]' in text and 'both as numbers or both as texts' in text

    def test_names_written_on_windows(self, make_case):
        case = make_case()
        image = case.images[0]
        image['file_name'] = f'..\\..\\label-studio\\media\\{image["file_name"]}'
        case.write()
        (finding,) = examine(case.cfg, ['train'], weights=False).findings
        assert finding.kind == 'image-name' and 'backslashes' in finding.detail
        assert f'{case.root / "train/000000.jpg"} exists' in finding.detail

    def test_the_tree_of_coco_is_shown_for_coco_only(self, make_case):
        case = make_case()
        case.loader().ann_file = 'annotations/mine.json'
        text = examine(case.cfg, ['train'], weights=False).text()
        assert 'mine.json does not exist' in text and 'train2017' not in text
        case.loader().ann_file = 'annotations/instances_train2017.json'
        text = examine(case.cfg, ['train'], weights=False).text()
        assert 'train2017/*.jpg' in text and 'COCO_ROOT' not in text, 'no variable moves the paths of this config'

    def test_a_folder_of_a_similar_name_is_named(self, make_case):
        case = make_case()
        case.loader().data_prefix = dict(img='trian/')
        text = examine(case.cfg, ['train'], weights=False).text()
        assert f"{case.root / 'trian'} does not exist, but 'train' beside it does" in text

    def test_of_many_classes_only_the_different_ones_are_listed(self, make_case):
        case = make_case()
        case.loader().metainfo = dict(classes=[f'class {number}' for number in range(80)])
        text = examine(case.cfg, ['train'], weights=False).text()
        assert "of the config that the annotations do not have: ['class 0'" in text and 'config:  ' not in text


def test_a_subset_of_the_classes(make_case):
    """As mmdet's own config for persons, bicycles and cars."""
    case = make_case()
    for split in SPLITS:
        case.loader(split).metainfo.classes = ('disc', 'triangle')
    report = check(case.cfg, SPLITS, weights=False)
    assert {f.kind for f in report.findings} == {'category-left-out'} and 'box (' in report.text()
    case.loader().metainfo.classes = ('disc', 'triangel')
    with pytest.raises(PreflightError, match="'triangel' meant to be 'triangle'"):
        check(case.cfg, ['train'], weights=False)


def test_texts_as_ids_stop_mmdets_own_metric_only(make_case):
    case = make_case(split='val')
    case.annotations[0]['id'] = 'first'
    assert kinds(case) == []
    judged_by_mmdet(case)
    assert kinds(case) == [('annotation-id-text', 'val, test')]
