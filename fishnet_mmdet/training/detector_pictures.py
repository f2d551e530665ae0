"""mmdet's hook for pictures: of a test in the folders of the images, of validations always of the same images."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import mmcv
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.structures import DetDataSample
from mmengine import fileio
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fishnet_mmdet.training.pictures import PicturesInFolders, image_paths, unlike_names


@HOOKS.register_module()
class FolderDetVisualizationHook(PicturesInFolders, DetVisualizationHook):
    """mmdet's `DetVisualizationHook`, with pictures of a test in the folders of their images."""

    setting = 'test_out_dir'


@HOOKS.register_module()
class ValPicturesHook(DetVisualizationHook):
    """mmdet's `DetVisualizationHook`, with the same images in each validation and a name for each of them.

    mmdet chooses by the number of the iteration, so that the images differ from validation to validation, and calls all
    of them `val_img`. Here, `interval` counts the batches of a validation, and a picture is named after its file: in
    TensorBoard and Weights & Biases, the steps of a name are one image in the course of the training.
    """

    _names: Mapping[str, str] | None = None

    def before_val(self, runner: Runner) -> None:
        """Finds names that tell images of different folders apart."""
        if self.draw and self._names is None:
            self._names = unlike_names(image_paths(runner.val_dataloader.dataset))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Mapping, outputs: Sequence[DetDataSample]
    ) -> None:
        """Draws the first image of every `interval`-th batch."""
        path = outputs[0].get('img_path')
        if not self.draw or batch_idx % self.interval or not path:
            return
        image = mmcv.imfrombytes(fileio.get(path, backend_args=self.backend_args), channel_order='rgb')
        self._visualizer.add_datasample(
            f'val_{self._names.get(os.path.abspath(path), Path(path).stem)}',
            image,
            data_sample=outputs[0],
            pred_score_thr=self.score_thr,
            step=runner.iter,
        )
