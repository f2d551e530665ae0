"""Pictures of a test: those of images with the same name, in different folders, do not replace each other."""

import os
from collections.abc import Mapping, Sequence

from mmdet.engine.hooks import DetVisualizationHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class FolderVisualizationHook(DetVisualizationHook):
    """mmdet's `DetVisualizationHook`, which writes the pictures of a test to the folders of their images.

    mmdet's hook names a picture after the file only: of a/0.jpg and b/0.jpg, the second one replaces the first. Here,
    the folders below the deepest folder that all images share are repeated below `test_out_dir`.
    """

    def before_test(self, runner: Runner) -> None:
        """Finds the folder that all images share."""
        dataset = runner.test_dataloader.dataset
        infos = (dataset.get_data_info(index) for index in range(len(dataset)))
        folders = {os.path.dirname(os.path.abspath(info['img_path'])) for info in infos}
        self._shared = os.path.commonpath(folders) if folders else ''

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Mapping, outputs: Sequence | None = None
    ) -> None:
        """Draws each image of a batch into its own folder."""
        folder = self.test_out_dir
        if folder is None:
            super().after_test_iter(runner, batch_idx, data_batch, outputs)
            return
        for sample in outputs:
            below = os.path.relpath(os.path.dirname(os.path.abspath(sample.img_path)), self._shared)
            self.test_out_dir = os.path.normpath(os.path.join(folder, below))
            super().after_test_iter(runner, batch_idx, data_batch, [sample])
        self.test_out_dir = folder


def in_folders(hook: Mapping) -> dict:
    """The config of a visualization hook, with mmdet's own hook replaced by the one that keeps folders apart."""
    kind = hook.get('type')
    is_mmdets = kind in ('DetVisualizationHook', 'mmdet.DetVisualizationHook', DetVisualizationHook)
    return dict(hook, type='FolderVisualizationHook') if is_mmdets else dict(hook)
