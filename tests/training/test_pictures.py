"""Pictures of a test: images of one name in different folders get a picture each."""

from types import SimpleNamespace

import pytest
import torch
from conftest import CONFIGS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from PIL import Image

from fishnet_mmdet.training.launch.switches import switch_on_pictures

DEMOS = {'detector': 'mask_rcnn_fishnet_demo.py', 'classifier': 'classifier_fishnet_demo.py'}


class Images:
    """A data set of image files."""

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, index):
        return dict(img_path=str(self.paths[index]))


def sample_of(kind, path):
    if kind == 'classifier':
        return DataSample(metainfo=dict(img_path=str(path))).set_pred_score(torch.ones(2))
    sample = DetDataSample(metainfo=dict(img_path=str(path)))
    sample.pred_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long(), scores=torch.zeros(0))
    return sample


def draw(kind, folder, names):
    """Tests on images of these names, with the hook that --show-dir gives; returns the pictures below `shown`."""
    paths = [folder / 'data' / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (40, 30)).save(path)
    cfg = Config.fromfile(CONFIGS / DEMOS[kind])
    switch_on_pictures(cfg, show=False, show_dir=str(folder / 'shown'), wait_time=0)
    visualizer = UniversalVisualizer if kind == 'classifier' else DetLocalVisualizer
    visualizer.get_instance(f'{folder}')
    hook = HOOKS.build(cfg.default_hooks.visualization)
    hook._visualizer.dataset_meta = dict(classes=('disc', 'box'))
    loader = SimpleNamespace(dataset=Images(paths))
    runner = SimpleNamespace(work_dir=str(folder), timestamp='now', test_dataloader=loader)
    hook.before_test(runner)
    batch = dict(inputs=[torch.zeros(3, 30, 40, dtype=torch.uint8) for _ in paths])
    hook.after_test_iter(runner, 0, batch, [sample_of(kind, path) for path in paths])
    return sorted(str(path.relative_to(folder / 'shown')) for path in (folder / 'shown').rglob('*.*'))


@pytest.mark.parametrize('kind, ending', [('detector', ''), ('classifier', '_0.png')])
class TestPictures:
    def test_of_one_name_in_two_folders(self, tmp_path, kind, ending):
        pictures = draw(kind, tmp_path, ['a/0.jpg', 'b/0.jpg', 'b/c/0.jpg'])
        assert pictures == [f'a/0.jpg{ending}', f'b/0.jpg{ending}', f'b/c/0.jpg{ending}']

    def test_of_one_folder_lie_in_no_folder(self, tmp_path, kind, ending):
        assert draw(kind, tmp_path, ['a/0.jpg', 'a/1.jpg']) == [f'0.jpg{ending}', f'1.jpg{ending}']


def test_a_hook_of_the_users_own_stays(tmp_path):
    cfg = Config.fromfile(CONFIGS / DEMOS['detector'])
    cfg.default_hooks.visualization = dict(type='MyHook')
    switch_on_pictures(cfg, show=False, show_dir=str(tmp_path), wait_time=0)
    assert cfg.default_hooks.visualization.type == 'MyHook'
    assert cfg.default_hooks.visualization.test_out_dir == str(tmp_path)
