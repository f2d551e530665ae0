"""mmdet's hook for pictures, which keeps the folders of the images apart."""

from mmdet.engine.hooks import DetVisualizationHook
from mmengine.registry import HOOKS

from fishnet_mmdet.training.pictures import PicturesInFolders


@HOOKS.register_module()
class FolderDetVisualizationHook(PicturesInFolders, DetVisualizationHook):
    """mmdet's `DetVisualizationHook`, with pictures of a test in the folders of their images."""

    setting = 'test_out_dir'
