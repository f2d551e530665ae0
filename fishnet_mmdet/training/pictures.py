"""Pictures of a test: those of images with the same name, in different folders, do not replace each other."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.runner import Runner


def image_paths(dataset: Any) -> list[str]:
    """The absolute paths of the images of a data set, without those that come from no files."""
    if not hasattr(dataset, 'get_data_info'):
        return []
    paths = (dataset.get_data_info(index).get('img_path') for index in range(len(dataset)))
    return [os.path.abspath(path) for path in paths if path]


def unlike_names(paths: Sequence[str]) -> dict[str, str]:
    """A name for each image: its file without the ending, and as much of its path and ending as tells it from others.

    Args:
        paths: Absolute paths.
    """
    shared = os.path.commonpath(list(map(os.path.dirname, paths))) if paths else ''
    names: dict[str, str] = {}
    left = list(dict.fromkeys(paths))
    below = {path: os.path.relpath(path, shared).replace(os.sep, '_') for path in left}
    for name_of in (lambda path: Path(path).stem, lambda path: os.path.splitext(below[path])[0], below.get):
        # A name that is taken counts as one that several have.
        counts = Counter([*map(name_of, left), *names.values()])
        names |= {path: name_of(path) for path in left if counts[name_of(path)] == 1}
        left = [path for path in left if path not in names]
    return names | {path: f'{below[path]}_{number}' for number, path in enumerate(left)}


class PicturesInFolders:
    """Makes a visualization hook write pictures to the folders of their images.

    The hooks of mmdet and mmpretrain name a picture after the file only: of a/0.jpg and b/0.jpg, the second one
    replaces the first. Here, the folders below the deepest folder that all images share are repeated.

    Attributes:
        setting: The attribute of the hook with the folder of the pictures.
    """

    setting: str

    def before_test(self, runner: Runner) -> None:
        """Finds the folder that all images share."""
        folders = set(map(os.path.dirname, image_paths(runner.test_dataloader.dataset)))
        self._shared = os.path.commonpath(folders) if folders else ''

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Mapping, outputs: Sequence | None = None
    ) -> None:
        """Draws each image of a batch into its own folder."""
        folder = getattr(self, self.setting)
        # Images that come from no files have no folders.
        if folder is None or not self._shared:
            super().after_test_iter(runner, batch_idx, data_batch, outputs)
            return
        for number, sample in enumerate(outputs):
            below = os.path.relpath(os.path.dirname(os.path.abspath(sample.img_path)), self._shared)
            setattr(self, self.setting, os.path.normpath(os.path.join(folder, below)))
            one = {**data_batch, 'inputs': data_batch['inputs'][number : number + 1]}
            super().after_test_iter(runner, batch_idx, one, [sample])
        setattr(self, self.setting, folder)


def in_folders(hook: Mapping, name: str, scope: str) -> dict:
    """The config of a visualization hook, with the stock hook replaced by ours.

    Args:
        hook: The config.
        name: Name of the stock hook.
        scope: The registry scope of the stock hook.
    """
    kind = hook.get('type')
    is_stock = kind in (name, f'{scope}.{name}') or getattr(kind, '__module__', '').startswith(f'{scope}.')
    return dict(hook, type=f'Folder{name}') if is_stock else dict(hook)
