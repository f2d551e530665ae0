"""What inference finds, reads ahead and gives an id, before any model is there."""

import json
from pathlib import Path

import numpy as np
import pytest
from infer_case import save

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.deploy import find_inputs
from fishnet_mmdet.deploy.infer.image_ids import AnnotatedIds
from fishnet_mmdet.deploy.infer.outputs import output_name, write_picture
from fishnet_mmdet.deploy.infer.sources import AHEAD, read_ahead


def names(found):
    return [found.name(path) for path in found.kinds]


class TestFindInputs:
    def tree(self, root):
        for name in ('b/1.jpg', 'a/2.PNG', 'a/deep/er/1.jpg', '.hidden/1.jpg', 'a/.hidden.jpg'):
            save(root / name)
        (root / 'a' / 'Thumbs.db').touch()
        return root

    def test_folders_with_all_folders_in_them(self, tmp_path):
        found = find_inputs([self.tree(tmp_path)])
        assert names(found) == ['a/2.PNG', 'a/deep/er/1.jpg', 'b/1.jpg'] and not found.passed_over

    def test_names_of_several_inputs_begin_where_their_paths_differ(self, tmp_path):
        self.tree(tmp_path)
        assert names(find_inputs([tmp_path / 'b', tmp_path / 'a/deep'])) == ['b/1.jpg', 'a/deep/er/1.jpg']
        assert names(find_inputs([tmp_path / 'b/1.jpg'])) == ['1.jpg']

    def test_patterns(self, tmp_path):
        self.tree(tmp_path)
        assert names(find_inputs([f'{tmp_path}/*/1.jpg'])) == ['1.jpg']
        assert names(find_inputs([f'{tmp_path}/**/*.jpg'])) == ['a/deep/er/1.jpg', 'b/1.jpg']
        assert names(find_inputs([f'{tmp_path}/a/d*'])) == ['er/1.jpg']
        with pytest.raises(UserError, match=r'\*\.tif: no file has such a name'):
            find_inputs([f'{tmp_path}/*.tif'])

    def test_a_file_whose_name_is_a_pattern(self, tmp_path):
        assert names(find_inputs([save(tmp_path / 'x[1].jpg')])) == ['x[1].jpg']

    def test_twice_is_once(self, tmp_path):
        self.tree(tmp_path)
        assert len(find_inputs([tmp_path, tmp_path / 'b', f'{tmp_path}/b/*.jpg']).kinds) == 3

    def test_links_in_a_circle(self, tmp_path):
        self.tree(tmp_path)
        (tmp_path / 'a' / 'up').symlink_to(tmp_path)
        (tmp_path / 'c').mkdir()
        (tmp_path / 'c' / 'elsewhere').symlink_to(
            save(tmp_path.parent / f'{tmp_path.name}-more' / 'x' / '1.jpg').parent
        )
        assert len(find_inputs([tmp_path]).kinds) == 4

    def test_the_folder_of_the_results_is_left_out(self, tmp_path):
        save(self.tree(tmp_path) / 'out' / 'pictures' / '1.jpg')
        assert len(find_inputs([tmp_path]).kinds) == 4
        assert len(find_inputs([tmp_path], tmp_path / 'out').kinds) == 3

    def test_results_beside_the_inputs(self, tmp_path, monkeypatch):
        monkeypatch.chdir(save(tmp_path / '1.jpg').parent)
        save(tmp_path / 'pictures' / '1.jpg')
        (tmp_path / 'results.json').touch()
        for given in ('1.jpg', '.', '*'):
            found = find_inputs([given], '.')
            assert names(found) == ['1.jpg'] and not found.passed_over
        for given in ('pictures', 'pictures/1.jpg'):
            with pytest.raises(UserError, match='results would be written over it: choose another folder than --out .'):
                find_inputs([given], '.')

    def test_pictures_by_content_and_other_files(self, tmp_path):
        save(tmp_path / '1.jpg').rename(tmp_path / 'no_ending')
        (tmp_path / 'notes.txt').write_text('notes')
        (tmp_path / 'clip.MP4').touch()
        found = find_inputs([tmp_path])
        assert found.kinds == {str(tmp_path / 'no_ending'): 'picture', str(tmp_path / 'clip.MP4'): 'video'}
        assert found.passed_over == [(str(tmp_path / 'notes.txt'), 'neither a picture nor a video')]

    @pytest.mark.parametrize(
        'given, message',
        [
            ('missing.jpg', 'input not found: .*missing.jpg does not exist'),
            ('empty', 'the folder holds no files'),
            ('text', 'no picture and no video among 1 files; .*notes.txt: neither'),
            ('https://example.org/1.jpg', 'addresses are not read'),
            ('', 'name at least one picture'),
            ('97', 'camera 97 cannot be opened by OpenCV'),
        ],
    )
    def test_refusals(self, given, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path('empty').mkdir()
        Path('text').mkdir()
        Path('text/notes.txt').write_text('notes')
        with pytest.raises(UserError, match=message):
            find_inputs([given] if given else [])

    def test_a_file_that_is_called_as_a_number(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        save(tmp_path / '1.jpg').rename('97')
        assert list(find_inputs(['97']).kinds.values()) == ['picture']


class TestReadAhead:
    def test_in_order_and_no_more_than_needed(self):
        started = []

        def slow(path):
            started.append(path)
            return {'path': path}

        stream = read_ahead(slow, map(str, range(100)), batch=2)
        assert next(stream) == ('0', {'path': '0'})
        assert len(started) <= 2 + AHEAD + 1
        assert [path for path, _ in stream] == [str(number) for number in range(1, 100)]

    def test_other_errors_are_raised(self):
        with pytest.raises(ZeroDivisionError):
            list(read_ahead(lambda path: 1 / 0, ['x'], 1))


class TestAnnotatedIds:
    def ids(self, folder, images, categories=((3, 'a'), (1, 'b')), annotations=()):
        path = folder / 'instances.json'
        data = dict(
            images=[dict(id=key, file_name=name) for key, name in images],
            categories=[dict(id=key, name=name) for key, name in categories],
            annotations=[dict(category_id=key) for key in annotations],
        )
        path.write_text(json.dumps(data))
        return AnnotatedIds(path)

    def test_images_are_found_by_the_longest_end_of_their_paths(self, tmp_path):
        ids = self.ids(tmp_path, [(7, '1.jpg'), (8, 'a/1.jpg'), ('x', 'b/./2.jpg')])
        assert [ids.image_id(path) for path in ('/in/a/1.jpg', '/in/b/1.jpg', '/in/b/2.jpg')] == [8, 7, 'x']
        assert ids.problem('/in/3.jpg') == f'not among the images of the annotation file {tmp_path}/instances.json'

    def test_an_entry_is_taken_once(self, tmp_path):
        ids = self.ids(tmp_path, [(7, '1.jpg'), (8, '2.jpg')])
        assert ids.problem('/in/a/1.jpg') is None
        assert 'another input was taken' in ids.problem('/in/b/1.jpg') and ids.unused() == 1

    def test_categories_by_name(self, tmp_path):
        ids = self.ids(tmp_path, [(7, '1.jpg')])
        assert ids.category_ids(['b', 'a']) == [1, 3]
        with pytest.raises(UserError, match="has no category 'c'; it has 'a', 'b'"):
            ids.category_ids(['a', 'c'])

    def test_of_two_categories_with_one_name_the_used_one_counts(self, tmp_path):
        categories = [(0, 'a'), (1, 'a'), (2, 'b')]
        assert self.ids(tmp_path, [(7, '1.jpg')], categories, [1, 2]).category_ids(['a', 'b']) == [1, 2]
        assert self.ids(tmp_path, [(7, '1.jpg')], categories, [0, 2]).category_ids(['a', 'b']) == [0, 2]
        # The first one, if both are.
        assert self.ids(tmp_path, [(7, '1.jpg')], categories, [1, 0]).category_ids(['a', 'b']) == [0, 2]

    @pytest.mark.parametrize(
        'images, message',
        [
            ([(7, '1.jpg'), (8, './1.jpg')], 'two images have the file name 1.jpg'),
            ([(7, '')], r'images\[0\] file_name'),
        ],
    )
    def test_files_that_cannot_be_used(self, images, message, tmp_path):
        with pytest.raises(UserError, match=message):
            self.ids(tmp_path, images)


def test_a_picture_that_its_format_cannot_hold(tmp_path):
    write_picture(tmp_path / 'tall.webp', np.zeros((16400, 8, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ['tall.webp.png']


def test_names_never_collide(tmp_path):
    for name in ('x.gif', 'x.gif.png'):
        (tmp_path / name).touch()
    source = str(tmp_path / 'x.gif')
    assert output_name(source, 'a/x.gif', ('.png',), '.png') == 'a/x.gif_.png'
    assert output_name(f'{source}.png', 'a/x.gif.png', ('.png',), '.png') == 'a/x.gif.png'
