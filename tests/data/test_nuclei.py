"""The public pictures of nuclei in COCO's format: the parts and masks that the figures are of."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
from conftest import REAL_DATA
from PIL import Image
from pycocotools.coco import COCO

from fishnet_mmdet.commands import run_command
from fishnet_mmdet.data.nuclei import MASKS, SPLIT, NucleiError, convert_nuclei

NAMES = [line.split()[0] for line in SPLIT.read_text().splitlines()]


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """The tree of the public repository, every picture alike."""
    root = tmp_path_factory.mktemp('source')
    Image.new('RGBA', (8, 6), (200, 10, 30, 255)).save(root / 'picture.png')
    for name, (rows, columns) in {'b': (slice(1, 3), slice(2, 6)), 'a': (slice(5, 6), slice(0, 1))}.items():
        mask = np.zeros((6, 8), np.uint8)
        mask[rows, columns] = 255
        Image.fromarray(mask).save(root / f'{name}.png')
    for name in NAMES:
        path = root / 'stage1_train' / name.ljust(64, '0')
        (path / 'images').mkdir(parents=True)
        (path / 'masks').mkdir()
        (path / 'images' / f'{path.name}.png').hardlink_to(root / 'picture.png')
        for mask in 'ba':
            (path / 'masks' / f'{mask}.png').hardlink_to(root / f'{mask}.png')
    return root


@pytest.fixture
def broken(source, tmp_path):
    """A copy of the tree whose first picture may be changed."""
    copy = tmp_path / 'broken'
    shutil.copytree(source, copy, copy_function=os.link)
    return copy, copy / 'stage1_train' / NAMES[0].ljust(64, '0')


def test_parts_pictures_and_masks(source, tmp_path, capsys):
    out = tmp_path / 'deep' / 'nuclei'
    run_command('nuclei-data', [str(source), '--out', str(out)])
    printed = capsys.readouterr().out
    for name, images in {'train': 451, 'val': 91}.items():
        assert f'{name}: {images} pictures, {2 * images} nuclei; the masks differ' in printed
        coco = COCO(out / 'annotations' / f'instances_{name}.json')
        assert len(coco.imgs) == len(list((out / name).iterdir())) == images
        for image in coco.imgs.values():
            assert image['source_id'].startswith(NAMES[image['id'] - 1]) and (out / name / image['file_name']).exists()
        small, large = coco.loadAnns(coco.getAnnIds(min(coco.imgs)))
        assert (small['bbox'], large['bbox'], large['area']) == ([0, 5, 1, 1], [2, 1, 4, 2], 8)
        assert coco.annToMask(large)[1:3, 2:6].all() and coco.annToMask(large).sum() == 8
    assert min(coco.anns) == 2 * 451 + 1  # ids go on in the second part
    assert Image.open(out / 'val' / image['file_name']).size == (8, 6)


@pytest.mark.parametrize(
    'how, said',
    [
        ('no folder', 'elsewhere: 664 of 664 pictures .* are missing, such as 00071198.* git clone'),
        ('a picture less', 'stage1_train: 1 of 664 pictures'),
        ('a folder that is not empty', 'out exists and is not empty'),
        ('a broken picture', '0000.png cannot be read: .* git clone'),
        ('a mask of another size', r'a.png: 3 x 2 pixels, its picture 8 x 6'),
    ],
)
def test_what_cannot_be_converted(broken, tmp_path, how, said):
    root, first = broken
    out = tmp_path / 'out'
    if how == 'no folder':
        root = tmp_path / 'elsewhere'
    elif how == 'a picture less':
        shutil.rmtree(first)
    elif how == 'a folder that is not empty':
        out.mkdir()
        (out / 'mine').touch()
    else:
        changed = first / ('images' if 'picture' in how else 'masks')
        path = min(changed.iterdir())
        path.unlink()
        Image.new('L', (3, 2)).save(path) if 'mask' in how else path.write_bytes(b'\x89PNG')
    before = sorted(tmp_path.iterdir())
    with pytest.raises(NucleiError, match=said):
        convert_nuclei(root, out)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(not (REAL_DATA / 'nuclei').is_dir(), reason='needs the nuclei, which are not in the repo')
@pytest.mark.parametrize('part', ['train', 'val'])
def test_the_figures_are_of_these_parts_and_masks(part):
    """The set that the figures were measured on: what the command writes from the public pictures."""
    content = json.loads((REAL_DATA / 'nuclei' / 'annotations' / f'instances_{part}.json').read_text())
    rows = SPLIT.read_text().splitlines()
    named = {image['id']: image['source_id'] for image in content['images']}
    assert {number: f'{name[:8]} {part}' for number, name in named.items()} == {
        number: row for number, row in enumerate(rows, start=1) if row.endswith(f' {part}')
    }
    masks = ''.join(entry['segmentation']['counts'] for entry in content['annotations'])
    assert hashlib.sha256(masks.encode()).hexdigest() == MASKS[part]
