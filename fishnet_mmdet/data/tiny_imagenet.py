"""Tiny ImageNet as its archive holds it: 200 classes, 100,000 training and 10,000 validation images of 64 x 64."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from fishnet_mmdet.base.errors import ConfigError, UserError

TREE = """\
  {root}
  |-- train/WNID/images/*.JPEG
  `-- val/images/*.JPEG, val/val_annotations.txt"""


class DataNotFoundError(UserError, FileNotFoundError):
    """Files of a data set are not where they should be; the message names the path."""


@DATASETS.register_module()
class TinyImageNet(BaseDataset):
    """Images and labels for mmpretrain's pipelines. The classes are the folders of `train`, in alphabetical order.

    Args:
        data_root: The unpacked folder `tiny-imagenet-200`.
        split: 'train' or 'val'. The archive's test images have no labels.
        pipeline: Transforms, as in any data set of MMEngine.
        **more: Arguments of MMEngine's `BaseDataset`.

    Raises:
        DataNotFoundError: Files of the archive are missing; the message shows what is expected.
        ConfigError: The split is neither 'train' nor 'val'.
    """

    def __init__(self, data_root: str, split: str, pipeline: Sequence = (), **more: Any) -> None:
        if split not in ('train', 'val'):
            raise ConfigError(f"split = {split!r} must be 'train' or 'val'")
        self.split = split
        needed = [Path(data_root) / 'train', Path(data_root) / 'val' / 'val_annotations.txt'][: 1 + (split == 'val')]
        for path in needed:
            if not path.exists():
                tree = TREE.format(root=data_root)
                raise DataNotFoundError(f'Tiny ImageNet not found: {path.resolve()} does not exist. Expected:\n{tree}')
        # Hidden folders and files are what file managers and Jupyter leave.
        names = (path.name for path in needed[0].iterdir() if path.is_dir())
        classes = tuple(sorted(name for name in names if not name.startswith('.')))
        super().__init__(data_root=data_root, metainfo=dict(classes=classes), pipeline=pipeline, **more)

    def load_data_list(self) -> list[dict]:
        """Returns every image as {'img_path', 'gt_label'}."""
        root = Path(self.data_root)
        labels = {name: label for label, name in enumerate(self.metainfo['classes'])}
        if self.split == 'train':
            paths = sorted((root / 'train').glob('*/images/*'))
            named = [(path, path.parent.parent.name) for path in paths]
            named = [(path, name) for path, name in named if name in labels and not path.name.startswith('.')]
        else:
            lines = (root / 'val' / 'val_annotations.txt').read_text().splitlines()
            named = [(root / 'val' / 'images' / line.split('\t')[0], line.split('\t')[1]) for line in lines]
        return [{'img_path': str(path), 'gt_label': labels[name]} for path, name in named]
