"""Configs for one's own data: what is found in a folder, divided, converted, refused."""

import json
import os

import pytest
from mmengine.config import Config
from new_case import NAMES, build, make, write_usual
from own_data import coco, write_coco

from fishnet_mmdet import UserError
from fishnet_mmdet.commands import run_command
from fishnet_mmdet.project.new import new_config


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test runs in an empty folder, as a user would."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def usual(here):
    return write_usual(here / 'data')


class TestFinds:
    def test_the_usual_form(self, usual):
        cfg, chosen = make()
        model, train, val = build(cfg)
        assert (len(train), len(val)) == (6, 2) and model.with_mask
        assert train.metainfo['classes'] == ('disc', 'box')
        assert chosen['train'].value == 'data/annotations/instances_train.json'
        assert cfg.train_dataloader.dataset.data_prefix.img == 'data/train/'
        assert cfg.val_dataloader.dataset.data_prefix.img == 'data/val/'

    def test_the_form_of_roboflow(self, here):
        """Files of the same name beside the images, and boxes without masks."""
        for split, count in (('train', 4), ('valid', 2), ('test', 1)):
            folder = here / 'data' / split
            write_coco(folder / '_annotations.coco.json', folder, coco(NAMES[:count], masks='none'))
        cfg, chosen = make()
        model, train, val = build(cfg)
        assert (len(train), len(val)) == (4, 2) and not model.with_mask
        assert chosen['detector'].value == 'Faster R-CNN'
        assert cfg.val_evaluator.metric == 'bbox'

    def test_nested_folders_and_letters_of_other_alphabets(self, here):
        names = [f'été/{i}/фото {i}.jpg' for i in range(4)]
        classes = ("l'œuf", '細胞')
        write_coco(here / 'дані 1/a/b/Training set.json', here / 'дані 1/c/d', coco(names, classes))
        write_coco(here / 'дані 1/a/b/validation.json', here / 'дані 1/c/d', coco(names[:2], classes))
        cfg, _ = make('дані 1')
        _, train, val = build(cfg)
        assert (len(train), len(val)) == (4, 2) and train.metainfo['classes'] == classes

    def test_odd_names_have_to_be_named(self, usual, here):
        for old, new in (('instances_train', 'first'), ('instances_val', 'second')):
            (usual / f'annotations/{old}.json').rename(usual / f'annotations/{new}.json')
        with pytest.raises(UserError, match=r'annotations/first.json, annotations/second.json.*--train FILE --val'):
            make()
        arguments = ['--data', 'data', '--train', 'annotations/first.json', '--val', 'data/annotations/second.json']
        assert run_command('new', [*arguments, '--arch', '99', '--from-scratch', '-o', 'my.py']) == 0
        cfg = Config.fromfile('my.py')
        # Both folders hold 0.jpg: the split decides.
        assert cfg.train_dataloader.dataset.data_prefix.img == 'data/train/'
        assert cfg.val_dataloader.dataset.data_prefix.img == 'data/val/'
        assert cfg.val_dataloader.dataset.ann_file == 'data/annotations/second.json'

    def test_files_that_are_no_annotations_are_left_out(self, usual):
        (usual / 'train_log.json').write_text('{"loss": 1}')
        (usual / 'train_empty.json').write_text('')
        keypoints = coco(NAMES[:6])
        keypoints['annotations'][0]['keypoints'] = [1, 2, 2]
        (usual / 'annotations/person_keypoints_train.json').write_text(json.dumps(keypoints))
        assert make()[1]['train'].value == 'data/annotations/instances_train.json'

    @pytest.mark.skipif(not hasattr(os, 'symlink'), reason='no links')
    def test_a_link_that_leads_back(self, usual):
        os.symlink(usual, usual / 'train/again')
        os.symlink('/nowhere', usual / 'train/gone')
        assert make()[1]['train'].value == 'data/annotations/instances_train.json'


class TestSplits:
    def test_one_file_is_divided(self, here):
        content = coco(NAMES)
        write_coco(here / 'data/labels_my-project.json', here / 'data', content)
        before = (here / 'data/labels_my-project.json').read_bytes()
        cfg, chosen = make()
        _, train, val = build(cfg)
        assert (len(train), len(val)) == (8, 2)
        assert 'my_annotations/train.json and my_annotations/val.json' in chosen['split'].value
        images = [{i['file_name'] for i in json.loads((here / f'my_annotations/{s}.json').read_text())['images']}
                  for s in ('train', 'val')]  # fmt: skip
        assert images[0] | images[1] == set(NAMES) and not images[0] & images[1]
        assert (here / 'data/labels_my-project.json').read_bytes() == before
        val_file = (here / 'my_annotations/val.json').read_bytes()
        make(overwrite=True)
        assert (here / 'my_annotations/val.json').read_bytes() == val_file

    def test_files_of_the_user_are_never_replaced(self, here):
        write_coco(here / 'data/all.json', here / 'data', coco(NAMES))
        (here / 'my_annotations').mkdir()
        (here / 'my_annotations/train.json').write_text('mine')
        with pytest.raises(UserError, match='was not written by fishnet-mmdet'):
            make(overwrite=True)
        assert (here / 'my_annotations/train.json').read_text() == 'mine'
        assert not (here / 'my.py').exists()

    def test_the_files_of_an_earlier_call_are_not_the_data(self, here):
        """The user's file has a class more the second time."""
        file = here / 'data/all.json'
        write_coco(file, here / 'data', coco(NAMES))
        for classes in (('disc', 'box'), ('disc', 'box', 'bar')):
            file.write_text(json.dumps(coco(NAMES, classes)))
            new_config('data', 'fishnet99', 'data/my.py', from_scratch=True, overwrite=True)
            cfg = Config.fromfile('data/my.py')
            assert cfg.train_dataloader.dataset.metainfo.classes == classes

    def test_a_validation_file_without_objects_is_reported(self, here, capsys):
        """And not passed over, with a part of the training file in its place."""
        write_coco(here / 'data/val.json', here / 'data', {**coco(NAMES[6:]), 'annotations': []})
        write_coco(here / 'data/train.json', here / 'data', coco(NAMES[:6]))
        assert run_command('new', ['--data', 'data', '--from-scratch', '--output', 'my.py']) == 1
        assert 'error [no-objects] val' in capsys.readouterr().out

    @pytest.mark.parametrize('field', ['id', 'image_id', 'category_id'])
    @pytest.mark.parametrize('value', [None, [1]])
    def test_ids_that_cannot_be_used_get_the_report(self, here, capsys, field, value):
        content = coco(NAMES)
        entry = content['images' if field == 'id' else 'annotations'][0]
        entry[field] = value
        write_coco(here / 'data/all.json', here / 'data', content)
        assert run_command('new', ['--data', 'data', '--from-scratch', '-o', 'my.py']) == 1
        out = capsys.readouterr().out
        assert 'preflight: ' in out and 'written: my.py' in out

    def test_a_class_order_that_skip_bad_cannot_fix(self, usual, capsys):
        path = usual / 'annotations/instances_val.json'
        content = json.loads(path.read_text())
        content['categories'].reverse()
        path.write_text(json.dumps(content))
        assert run_command('new', ['--data', 'data', '--from-scratch', '-o', 'my.py']) == 1
        out = capsys.readouterr().out
        assert 'classes-order' in out and '--skip-bad' not in out.splitlines()[-1]

    def test_a_file_whose_name_says_nothing_is_not_passed_over(self, usual, here):
        write_coco(usual / 'annotations/cells_holdout.json', usual / 'val', coco(NAMES[:2]))
        with pytest.raises(UserError, match='cells_holdout.json.*Name them: --train FILE --val FILE'):
            make()

    def test_one_tiny_image(self, here):
        write_coco(here / 'data/all.json', here / 'data', coco(NAMES[:1], size=(32, 32)), size=(32, 32))
        _, chosen = make()
        assert chosen['image scale'].value == '64 x 64'

    def test_one_image(self, here):
        write_coco(here / 'data/all.json', here / 'data', coco(NAMES[:1]))
        cfg, chosen = make()
        _, train, val = build(cfg)
        assert len(train) == len(val) == 1 and cfg.train_dataloader.batch_size == 1
        assert chosen['validation'].value == 'on the training images'

    def test_one_image_without_objects(self, here, capsys):
        write_coco(here / 'data/all.json', here / 'data', {**coco(NAMES[:1]), 'annotations': []})
        assert run_command('new', ['--data', 'data', '--from-scratch', '-o', 'my.py']) == 1
        assert 'error [no-objects] train' in capsys.readouterr().out

    def test_a_rare_class_is_trained(self, here):
        """Its only image is not held out, under any order."""
        content = coco(NAMES, classes=('many', 'rare'))
        for entry in content['annotations']:
            entry['category_id'] = 2 if entry['image_id'] == 10 else 1
        write_coco(here / 'data/all.json', here / 'data', content)
        make()
        train = json.loads((here / 'my_annotations/train.json').read_text())
        assert 2 in {entry['category_id'] for entry in train['annotations']}


class TestRefuses:
    @pytest.mark.parametrize(
        'settings, message',
        [
            (dict(data='nowhere'), '--data nowhere: no such folder'),
            (dict(data=__file__), 'is a file: name its folder'),
            (dict(val='x.json'), 'needs --train FILE'),
            (dict(train='x.json'), 'x.json: no such file, neither here nor in data'),
        ],
    )
    def test_wrong_arguments(self, usual, settings, message):
        with pytest.raises(UserError, match=message):
            make(**settings)

    def test_an_architecture_without_weights(self, usual):
        with pytest.raises(UserError, match='no released weights .*add --from-scratch'):
            new_config('data', 'fishnext150', 'my.py')

    def test_a_config_that_exists(self, usual, here, capsys):
        (here / 'my.py').write_text('mine')
        arguments = ['--data', 'data', '--arch', 'fishnet99', '--out', 'my.py', '--from-scratch']
        with pytest.raises(SystemExit, match='my.py exists: add --overwrite'):
            run_command('new', arguments)
        assert (here / 'my.py').read_text() == 'mine'
        assert run_command('new', [*arguments, '--overwrite']) == 0
        out = capsys.readouterr().out
        assert 'Next: fishnet-mmdet train my.py' in out and 'anchors: ' in out

    def test_an_empty_folder(self, here):
        (here / 'data').mkdir()
        with pytest.raises(UserError, match='neither COCO .* nor YOLO .* nor Pascal VOC'):
            make()

    def test_images_elsewhere(self, here):
        write_coco(here / 'data/all.json', here / 'elsewhere', coco(NAMES))
        with pytest.raises(UserError, match="none of its images, such as '0.jpg', lies in data"):
            make()

    def test_file_names_with_backslashes(self, here):
        content = coco(NAMES)
        for image in content['images']:
            image['file_name'] = f'images\\{image["file_name"]}'
        write_coco(here / 'data/all.json', here / 'elsewhere', content)
        with pytest.raises(UserError, match='its names have backslashes.*write / for them'):
            make()

    def test_bad_data_get_the_report(self, usual, capsys):
        path = usual / 'annotations/instances_train.json'
        content = json.loads(path.read_text())
        content['annotations'][0]['bbox'] = [10, 10, float('nan'), 5]
        content['annotations'][1]['category_id'] = 77
        path.write_text(json.dumps(content))
        assert run_command('new', ['--data', 'data', '--from-scratch', '-o', 'my.py']) == 1
        out = capsys.readouterr().out
        assert 'preflight: 2 errors' in out and 'fishnet-mmdet train my.py --skip-bad' in out
