"""Small files under the names that the pages use: a page's folder gets those that the page mentions."""

import contextlib
import io
import json
import re
import shutil

import cv2
import infer_case
import torch
from infer_case import picture, write_video
from own_data import coco
from pycocotools.coco import COCO
from run_folders import CONFIG, epochs, start
from seeded import seed
from seeded_models import build
from weight_cases import as_downloaded, in_naming

from fishnet_mmdet import FishNetClassifier
from fishnet_mmdet.lab.demo_data.demo import DemoSpec, make_demo_data
from fishnet_mmdet.weights.catalogue import CATALOGUE
from fishnet_mmdet.weights.namings import FOREIGN

WORK_DIR = 'work_dirs/mask_rcnn_fishnet_demo'
CONVERTED = 'work_dirs/x/epoch_12.pth'
OLD = 'work_dirs/old/epoch_7.pth'
MARKS = {
    'epoch_10.pth': ['detector'],
    'CHECKPOINT': ['detector'],
    WORK_DIR: ['finished_run'],
    'photo.jpg': ['photos'],
    'photos': ['photos'],
    '--data photos': ['photos', 'annotated'],
    'clip.mp4': ['video'],
    'data/demo': ['demo'],
    'mask_rcnn_fishnet_demo': ['demo'],
    'CONFIG': ['demo'],
    'preflight = dict(': ['demo'],
    'mask_rcnn_fishnet150_fpn': ['coco', 'released'],
    'instances_val2017.json': ['coco', 'results'],
    'ANNOTATIONS': ['coco', 'results'],
    "ann_file='day.json'": ['day_and_night'],
    'epoch_32.pth': ['released', 'whole_detector'],
    'fishnet150_ckpt.tar': ['released', 'downloaded'],
    'fishnet://': ['released'],
    CONVERTED: ['averaged'],
    OLD: ['stock_checkpoint'],
    'work_dirs/fishnet': ['logs'],
    'work_dirs/my_run': ['own_figures'],
    'port-report.jsonl': ['port_report'],
}
"""Which stand-ins a page needs that holds these words."""


class StandIns:
    """Writes stand-ins; large ones are written once, and linked into the folder of each page.

    Args:
        store: A folder that lasts as long as the session.
        drawn: The demo data.
        repo: The repository.
    """

    def __init__(self, store, drawn, repo):
        self.store, self.drawn, self.repo = store, drawn, repo

    def write(self, text, folder):
        """Writes what a page mentions to its folder."""
        self.released_names = {'fishnet150-imagenet', *re.findall(r'fishnet://([\w-]+)', text)}
        for name in dict.fromkeys(name for word, names in MARKS.items() if word in text for name in names):
            getattr(self, name)(folder)
        for name in ('configs', 'tools', 'tests'):
            (folder / name).symlink_to(self.repo / name)

    def once(self, name, write):
        """The path of a file of the store, which `write(path)` writes the first time."""
        path = self.store / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
        return path

    # Data

    def photos(self, folder):
        names = ['1.jpg', '2.jpg']
        (folder / 'photos').mkdir()
        for path in (folder / 'photo.jpg', *(folder / 'photos' / name for name in names)):
            cv2.imwrite(str(path), picture())

    def annotated(self, folder):
        (folder / 'photos/annotations.json').write_text(json.dumps(coco(['1.jpg', '2.jpg'], size=(120, 96))))

    def video(self, folder):
        write_video(folder / 'clip.mp4', [picture(0), picture(1)])

    def demo(self, folder):
        if not (folder / 'data/demo').exists():
            shutil.copytree(self.drawn, folder / 'data/demo')

    def coco(self, folder):
        """The demo's images under the names of COCO 2017, with its 80 classes."""
        if (root := folder / 'data/coco').exists():
            return
        from mmdet.datasets import CocoDataset

        (root / 'annotations').mkdir(parents=True)
        for split in ('train', 'val'):
            shutil.copytree(self.drawn / split, root / f'{split}2017')
            content = json.loads((self.drawn / f'annotations/instances_{split}.json').read_text())
            names = CocoDataset.METAINFO['classes']
            content['categories'] = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
            (root / f'annotations/instances_{split}2017.json').write_text(json.dumps(content))

    def results(self, folder):
        """All objects of the stand-in for COCO val2017, found."""
        file = folder / 'data/coco/annotations/instances_val2017.json'
        shutil.copy(file, folder)
        found = [
            dict(image_id=row['image_id'], category_id=row['category_id'], score=0.9, segmentation=rle)
            for row, rle in masks(file)
            if not row['iscrowd']
        ]
        (folder / 'results.segm.json').write_text(json.dumps(found))

    def day_and_night(self, folder):
        self.coco(folder)
        for name in ('day.json', 'night.json'):
            shutil.copy(folder / 'data/coco/annotations/instances_val2017.json', folder / name)

    # Weights and checkpoints

    def detector(self, folder):
        (folder / 'epoch_10.pth').symlink_to(self.once('epoch_10.pth', infer_case.write_checkpoint))

    def whole_detector(self, folder):
        """Weights of the paper's Mask R-CNN, of its full size."""

        def write(path):
            torch.save({'state_dict': build('mask_rcnn_fishnet150_fpn').state_dict(), 'meta': {}}, path)

        target = self.once('epoch_32.pth', write)
        (folder / 'epoch_32.pth').symlink_to(target)
        (folder / 'work_dirs/mask_rcnn_fishnet150_fpn').mkdir(parents=True)
        (folder / 'work_dirs/mask_rcnn_fishnet150_fpn/epoch_32.pth').symlink_to(target)

    def finished_run(self, folder):
        (folder / WORK_DIR).mkdir(parents=True)
        (folder / WORK_DIR / 'epoch_10.pth').symlink_to(self.once('epoch_10.pth', infer_case.write_checkpoint))

    def released(self, folder):
        """Seeded weights in the cache of torch, under the names of the released files, in their keys."""
        namings = {naming.name: naming for naming in FOREIGN}
        for weights in (CATALOGUE[name] for name in self.released_names if name in CATALOGUE):

            def write(path, weights=weights):
                net = FishNetClassifier(weights.arch)
                seed(net)
                as_downloaded(in_naming(net.state_dict(), namings[weights.naming]), path)

            self.once(f'torch/hub/checkpoints/{weights.file}', write)

    def downloaded(self, folder):
        source = self.store / 'torch/hub/checkpoints/fishnet150_ckpt.tar'
        (folder / 'downloads').mkdir()
        for target in (folder, folder / 'downloads'):
            (target / source.name).symlink_to(source)

    def averaged(self, folder):
        """A checkpoint with averaged and live weights, as EMAHook leaves it."""
        state = build(infer_case.CONFIG).state_dict()
        live = {f'module.{key}': value * 2 for key, value in state.items()}
        (folder / CONVERTED).parent.mkdir(parents=True)
        torch.save(
            {'state_dict': state, 'ema_state_dict': {'steps': torch.tensor(3), **live}, 'meta': {}}, folder / CONVERTED
        )

    def stock_checkpoint(self, folder):
        """What MMEngine writes: a log history as a pickled object."""
        from mmengine.logging import HistoryBuffer

        hub = dict(log_scalars={'train/loss': HistoryBuffer([1.0], [1])}, runtime_info={}, resumed_keys={})
        start = dict(optimizer=dict(state={}, param_groups=[]), param_schedulers=[])
        (folder / OLD).parent.mkdir(parents=True)
        state = torch.load(self.once('epoch_10.pth', infer_case.write_checkpoint), weights_only=True)['state_dict']
        torch.save({'state_dict': state, 'meta': dict(epoch=7, iter=28), 'message_hub': hub, **start}, folder / OLD)

    # Runs

    def logs(self, folder):
        start(
            folder / 'work_dirs/fishnet',
            epochs(1, 4),
            config=CONFIG.replace('depth=50, ', '').replace('ResNet', 'FishNet'),
        )
        start(folder / 'work_dirs/resnet', epochs(1, 4, best=0.3))

    def own_figures(self, folder):
        """The tables that runs leave in their work dirs."""
        figures = {
            'my_run/ap_val.json': dict(label='epoch 1', type='bbox', AP=0.27, AP_S=0.1, AP_M=0.2, AP_L=0.3),
            'my_classifier/accuracy_val.json': {'label': 'epoch 1', 'type': '', 'top-1': 0.7814},
        }
        for name, entry in figures.items():
            path = folder / 'work_dirs' / name
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(dict(title='a run', measured=[entry], published=[])))

    def port_report(self, folder):
        (folder / 'docs').mkdir()
        for name in ('port-report.jsonl', 'port-report.md'):
            shutil.copy(self.repo / 'docs' / name, folder / 'docs')


def masks(file):
    """The annotations of a file, each with its mask in the form of COCO results."""
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO(str(file))
    for row in data.dataset['annotations']:
        mask = data.annToRLE(row)
        counts = mask['counts']
        yield row, dict(size=mask['size'], counts=counts if isinstance(counts, str) else counts.decode())


def spoilt(root):
    """Draws the data with two defects whose report docs/data-checks.md shows."""
    make_demo_data(root, DemoSpec(train=8, val=4, side=96))
    file = root / 'annotations/instances_train.json'
    content = json.loads(file.read_text())
    (row,) = [row for row in content['annotations'] if row['id'] == 13]
    row['bbox'][2] = -4.0
    file.write_text(json.dumps(content))
    image = root / 'train/000002.jpg'
    image.write_bytes(image.read_bytes()[:-30])
