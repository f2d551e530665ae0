"""Images are read as in training; what is not an image is refused."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from drawn_case import png_of, set_orientation
from infer_case import CONFIG, picture, save
from mmcv.transforms import LoadImageFromFile
from mmdet.utils import register_all_modules
from mmengine.registry import DefaultScope
from PIL import Image

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.deploy.infer.reading import ImagePipeline, UnreadableImage, inference_dataset
from fishnet_mmdet.training.launch import read_config


@pytest.fixture(autouse=True, scope='module')
def steps_of_mmdet():
    """The registry in which a predictor looks up the steps of a pipeline."""
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def pipeline(steps_of_mmdet):
    return ImagePipeline(list(inference_dataset(read_config(CONFIG))['pipeline']))


class TestImagesAreReadAsInTraining:
    def files(self, folder):
        base = Image.fromarray(picture()[:, :, ::-1])
        for value in (3, 6, 8):
            base.save(folder / f'turned{value}.jpg')
            set_orientation(folder / f'turned{value}.jpg', value)
        base.convert('L').save(folder / 'gray.png')
        base.convert('LA').save(folder / 'gray-alpha.png')
        base.convert('RGBA').save(folder / 'alpha.png')
        base.convert('P').save(folder / 'palette.png')
        base.convert('CMYK').save(folder / 'cmyk.jpg')
        cv2.imwrite(str(folder / 'deep.png'), picture().astype(np.uint16) * 257)
        cv2.imwrite(str(folder / 'deep.tif'), picture().astype(np.uint16) * 257)
        base.save(folder / 'picture.webp')
        return sorted(folder.iterdir())

    def test_every_kind_of_file(self, pipeline, tmp_path):
        files = self.files(tmp_path)
        assert len(files) == 11
        for file in files:
            image = pipeline.read(file)['img']
            assert np.array_equal(image, LoadImageFromFile()(dict(img_path=str(file)))['img']), file
            assert image.shape == ((120, 96, 3) if file.stem in ('turned6', 'turned8') else (96, 120, 3))

    def test_arrays_of_other_channels(self, pipeline):
        gray = picture()[:, :, 0]
        expected = pipeline.read(np.repeat(gray[:, :, None], 3, axis=2))['img']
        for array in (gray, gray[:, :, None]):
            assert np.array_equal(pipeline.read(array)['img'], expected)
        assert np.array_equal(pipeline.read(np.dstack([picture(), gray]))['img'], picture())

    def test_the_loader_of_the_config_counts(self):
        steps = [dict(type='LoadImageFromFile', color_type='unchanged', to_float32=True), dict(type='PackDetInputs')]
        image = ImagePipeline(steps).read(picture()[:, :, 0])['img']
        assert image.shape == (96, 120) and image.dtype == np.float32

    def test_frames_of_a_video_for_a_grayscale_network(self, tmp_path):
        steps = [dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackDetInputs')]
        pipeline, file = ImagePipeline(steps), tmp_path / 'frame.png'
        cv2.imwrite(str(file), picture())
        of_the_file = pipeline.read(file)['img'].astype(int)
        for array in (picture(), np.dstack([picture(), picture()[:, :, 0]])):
            image = pipeline.read(array)['img']
            assert image.shape == of_the_file.shape == (96, 120) and np.abs(image - of_the_file).max() <= 1

    @pytest.mark.parametrize('shape, dtype', [((4, 4, 3), 'f8'), ((4, 4, 3), 'u2'), ((4,), 'u1'), ((0, 4, 3), 'u1')])
    def test_what_is_not_an_image(self, shape, dtype, pipeline):
        with pytest.raises(UnreadableImage, match=r'an array of \w+ and shape .* is not an image'):
            pipeline.read(np.zeros(shape, dtype))

    @pytest.mark.parametrize(
        'content, message',
        [
            (None, 'does not exist'),
            (b'', 'empty'),
            (b'<html>not found</html>', 'begins with'),
            (png_of(30_000, 30_000), 'more than'),
        ],
    )
    def test_files_that_are_not_images(self, content, message, pipeline, tmp_path):
        file = tmp_path / 'x.jpg'
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UnreadableImage, match=message if content != b'' else 'x.jpg'):
            pipeline.read(file)

    @pytest.mark.parametrize('ending', ['jpg', 'png', 'webp'])
    def test_truncated_files(self, ending, pipeline, tmp_path):
        file = tmp_path / f'x.{ending}'
        cv2.imwrite(str(file), picture())
        file.write_bytes(file.read_bytes()[:-40])
        with pytest.raises(UnreadableImage, match=f'x.{ending}'):
            pipeline.read(file)


class TestPipeline:
    def test_annotations_are_not_loaded(self):
        steps = ['LoadImageFromFile', 'mmdet.LoadAnnotations', 'LoadPanopticAnnotations', 'FilterAnnotations', 'Resize']
        cfg = [dict(type=step, scale=(64, 64)) if step == 'Resize' else dict(type=step) for step in steps]
        pipeline = ImagePipeline(cfg)
        assert [type(step).__name__ for step in pipeline.after.transforms] == ['Resize']

    def test_images_of_the_data_set_may_lie_on_a_server(self, tmp_path):
        steps = [dict(type='LoadImageFromFile', backend_args=dict(backend='petrel'))]
        assert ImagePipeline(steps).read(save(tmp_path / '1.png'))['img'].shape == (96, 120, 3)

    def test_without_a_loader(self):
        with pytest.raises(ConfigError, match='no LoadImageFromFile, which inference needs; it has PackDetInputs'):
            ImagePipeline([dict(type='PackDetInputs')])

    @pytest.mark.parametrize('wrap', [lambda node: dict(dataset=node), lambda node: dict(datasets=[node, node])])
    def test_of_a_wrapped_data_set(self, wrap):
        node = dict(pipeline=[1])
        cfg = SimpleNamespace(get=dict(test_dataloader=dict(dataset=wrap(node))).get, filename='x.py')
        assert inference_dataset(cfg) is node

    def test_of_the_validation_if_there_is_no_test(self):
        cfg = read_config(CONFIG)
        cfg.test_dataloader = None
        assert inference_dataset(cfg) is cfg.val_dataloader.dataset
        cfg.val_dataloader = None
        with pytest.raises(ConfigError, match='test_dataloader.dataset has no pipeline'):
            inference_dataset(cfg)
