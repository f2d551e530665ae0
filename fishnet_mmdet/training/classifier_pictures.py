"""mmpretrain's hook for pictures, which keeps the folders of the images apart."""

from mmengine.registry import HOOKS
from mmpretrain.engine.hooks import VisualizationHook

from fishnet_mmdet.training.pictures import PicturesInFolders


@HOOKS.register_module()
class FolderVisualizationHook(PicturesInFolders, VisualizationHook):
    """mmpretrain's `VisualizationHook`, with pictures of a test in the folders of their images."""

    setting = 'out_dir'
