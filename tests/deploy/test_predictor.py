"""The predictor: plain arrays, equal to those of mmdet's own inferencer."""

import sys
from types import SimpleNamespace

import infer_case
import numpy as np
import pytest
import safetensors.torch
import torch
from drawn_case import set_orientation
from infer_case import CLASSES, CONFIG, picture, same
from mmdet.apis import DetInferencer
from mmengine.logging import HistoryBuffer
from mmengine.structures import InstanceData
from PIL import Image

from fishnet_mmdet.base.config_files import find_config
from fishnet_mmdet.base.errors import ConfigError, UserError
from fishnet_mmdet.deploy import Prediction, Predictor
from fishnet_mmdet.weights.errors import WeightsError


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'seeded.pth'
    return infer_case.write_checkpoint(path, dataset_meta=dict(CLASSES=CLASSES))


@pytest.fixture(scope='module')
def predictor(checkpoint):
    return Predictor(CONFIG, checkpoint, device='cpu')


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    return infer_case.save(tmp_path_factory.mktemp('photos') / 'photo.png')


@pytest.fixture(scope='module')
def inferencer(checkpoint):
    return DetInferencer(str(find_config(CONFIG)), str(checkpoint), device='cpu', show_progress=False)


class TestPlainArrays:
    @pytest.mark.parametrize('as_array', [False, True], ids=['file', 'array'])
    def test_equal_those_of_mmdets_inferencer(self, as_array, predictor, inferencer, photo):
        ours = predictor.predict(picture() if as_array else photo)
        theirs = inferencer(picture() if as_array else str(photo), return_datasamples=True)['predictions'][0]
        theirs = theirs.pred_instances
        assert len(ours) == len(theirs) > 5
        assert np.array_equal(ours.boxes, theirs.bboxes.numpy()) and ours.boxes.dtype == np.float32
        assert np.array_equal(ours.scores, theirs.scores.numpy()) and ours.scores.dtype == np.float32
        assert np.array_equal(ours.labels, theirs.labels.numpy()) and ours.labels.dtype == np.int64
        assert np.array_equal(ours.masks, theirs.masks.numpy()) and ours.masks.dtype == bool
        assert ours.masks.shape == (len(ours), 96, 120) and (ours.height, ours.width) == (96, 120)

    def test_the_inferencer_draws_and_takes_folders(self, inferencer, photo, tmp_path):
        """What docs/inference.md shows."""
        found = inferencer(str(photo.parent), batch_size=2, out_dir=str(tmp_path), no_save_pred=False)
        assert found['predictions'][0]['bboxes']
        assert (tmp_path / 'vis' / 'photo.png').is_file() and (tmp_path / 'preds' / 'photo.json').is_file()

    def test_boxes_are_in_the_picture_as_its_exif_tag_turns_it(self, predictor, tmp_path):
        Image.fromarray(picture()[:, :, ::-1]).save(tmp_path / 'turned.jpg')
        set_orientation(tmp_path / 'turned.jpg', 6)
        found = predictor.predict(tmp_path / 'turned.jpg')
        assert (found.height, found.width) == (120, 96) and found.masks.shape[1:] == (120, 96)
        assert found.boxes[:, 3].max() > 96

    def test_names_are_those_of_the_checkpoint(self, predictor, photo):
        found = predictor.predict(photo)
        assert predictor.classes == CLASSES
        assert found.names == tuple(CLASSES[label] for label in found.labels)

    def test_from_safetensors_with_the_names_of_the_config(self, predictor, checkpoint, photo, tmp_path):
        state = torch.load(checkpoint, weights_only=True)['state_dict']
        safetensors.torch.save_file({key: value.clone() for key, value in state.items()}, tmp_path / 'w.safetensors')
        other = Predictor(CONFIG, tmp_path / 'w.safetensors', device='cpu')
        assert other.classes == ('disc', 'box', 'triangle')
        assert np.array_equal(other.predict(photo).boxes, predictor.predict(photo).boxes)

    def test_one_or_a_list(self, predictor, photo):
        found = predictor.predict([photo, str(photo), picture()])
        assert isinstance(predictor.predict(photo), Prediction) and len(found) == 3
        assert all(same(one, found[0]) for one in found)
        assert predictor.predict([]) == []
        with pytest.raises(UserError, match='batch = 0 must be at least 1'):
            predictor.predict([photo], batch=0)

    def test_batches_of_images_of_one_size_change_nothing(self, predictor):
        images = [picture(seed) for seed in range(3)]
        for one, other in zip(predictor.predict(images), predictor.predict(images, batch=2), strict=True):
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4)
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)

    def test_a_stream_reads_one_batch_at_a_time(self, predictor):
        asked = []
        images = (asked.append(seed) or picture(seed) for seed in range(6))
        stream = predictor.stream(images, batch=2)
        next(stream)
        assert asked == [0, 1]
        assert len(list(stream)) == 5

    def test_threshold(self, predictor, photo):
        whole = predictor.predict(photo)
        middle = float(np.median(whole.scores))
        kept = predictor.predict(photo, threshold=middle)
        assert 0 < len(kept) < len(whole) and kept.scores.min() >= middle
        assert same(kept, whole.above(middle)) and len(kept.names) == len(kept.masks) == len(kept)
        assert len(predictor.predict(photo, threshold=2.0)) == 0

    def test_the_form_for_inference(self, checkpoint, predictor, photo):
        found = Predictor(CONFIG, checkpoint, 'cpu', optimize='float32').predict(photo)
        plain = predictor.predict(photo)
        np.testing.assert_allclose(found.scores, plain.scores, rtol=1e-4)
        assert not np.array_equal(found.scores, plain.scores)

    def test_options_override_the_config(self, checkpoint, photo):
        options = {'model.test_cfg.rcnn.max_per_img': 3}
        assert len(Predictor(CONFIG, checkpoint, 'cpu', options=options).predict(photo)) == 3


class TestOtherModels:
    """What the model returns is given, since no such model is trained here."""

    def predictor_of(self, predictor, sample, monkeypatch):
        monkeypatch.setattr(predictor, 'model', SimpleNamespace(test_step=lambda data: [sample]))
        return predictor

    def sample(self, **fields):
        from mmdet.structures import DetDataSample

        return DetDataSample(metainfo=dict(ori_shape=(96, 120)), pred_instances=InstanceData(**fields))

    def test_without_a_box_branch_boxes_are_those_of_the_masks(self, predictor, monkeypatch):
        masks = torch.zeros(2, 96, 120, dtype=torch.bool)
        masks[0, 10:20, 30:50] = True
        fields = dict(bboxes=torch.zeros(2, 4), scores=torch.ones(2), labels=torch.tensor([0, 1]), masks=masks)
        found = self.predictor_of(predictor, self.sample(**fields), monkeypatch).predict(picture())
        assert found.boxes.tolist() == [[30, 10, 50, 20], [0, 0, 0, 0]]

    def test_without_masks_and_with_more_classes_than_names(self, predictor, monkeypatch):
        fields = dict(bboxes=torch.ones(1, 4), scores=torch.ones(1), labels=torch.tensor([7]))
        found = self.predictor_of(predictor, self.sample(**fields), monkeypatch).predict(picture())
        assert found.masks is None and found.names == ('class 7',) and found.above(2).masks is None

    def test_panoptic_maps_are_refused(self, predictor, monkeypatch):
        from mmdet.structures import DetDataSample

        with pytest.raises(ConfigError, match="gives no instances.*mmdet's DetInferencer"):
            self.predictor_of(predictor, DetDataSample(), monkeypatch).predict(picture())


class TestRefusals:
    @pytest.mark.parametrize(
        'config, message',
        [
            ('classifier_fishnet_demo', 'is a classifier.*mmpretrain.ImageClassificationInferencer'),
            ('semantic_fpn_fishnet150_ade20k', 'is a semantic segmentor.*mmseg.apis.MMSegInferencer'),
        ],
    )
    def test_other_kinds_name_the_right_tool(self, config, message, checkpoint):
        with pytest.raises(ConfigError, match=message):
            Predictor(config, checkpoint)

    def test_a_device_that_is_not_there(self, checkpoint):
        with pytest.raises(UserError, match="device 'cuda:9' cannot be used"):
            Predictor(CONFIG, checkpoint, device='cuda:9')
        with pytest.raises(UserError, match="device 'gpu' cannot be used"):
            Predictor(CONFIG, checkpoint, device='gpu')

    def test_another_number_format(self, checkpoint):
        with pytest.raises(ConfigError, match="optimize='int8' must be one of float32, bfloat16, float16"):
            Predictor(CONFIG, checkpoint, optimize='int8')

    def test_a_checkpoint_of_stock_mmengine_names_the_command(self, tmp_path):
        path = tmp_path / 'stock.pth'
        torch.save({'state_dict': {}, 'message_hub': {'loss': HistoryBuffer([1.0], [1])}}, path)
        with pytest.raises(WeightsError, match='plain-checkpoint'):
            Predictor(CONFIG, path)

    def test_a_backbone(self, checkpoint, tmp_path):
        state = torch.load(checkpoint, weights_only=True)['state_dict']
        path = tmp_path / 'backbone.pth'
        torch.save({key: value for key, value in state.items() if key.startswith('backbone.')}, path)
        with pytest.raises(WeightsError, match='holds a backbone or a classifier, not a detector'):
            Predictor(CONFIG, path)

    def test_named_weights_are_classifiers(self):
        """They are refused without a download."""
        with pytest.raises(WeightsError, match='fishnet://fishnet99-imagenet holds a backbone or a classifier'):
            Predictor(CONFIG, 'fishnet://fishnet99-imagenet')

    def test_weights_of_another_model(self, checkpoint, tmp_path):
        state = torch.load(checkpoint, weights_only=True)
        del state['state_dict']['rpn_head.rpn_conv.weight']
        torch.save(state, tmp_path / 'other.pth')
        with pytest.raises(WeightsError, match='does not fit mask_rcnn_fishnet_demo: 1 missing'):
            Predictor(CONFIG, tmp_path / 'other.pth')


class TestSupervision:
    def test_all_fields(self, predictor, photo):
        sv = pytest.importorskip('supervision')
        found = predictor.predict(photo)
        detections = found.to_supervision()
        assert isinstance(detections, sv.Detections) and len(detections) == len(found)
        assert np.array_equal(detections.xyxy, found.boxes) and np.array_equal(detections.mask, found.masks)
        assert np.array_equal(detections.confidence, found.scores)
        assert np.array_equal(detections.class_id, found.labels)
        assert detections.data['class_name'].tolist() == list(found.names)
        assert len(found.above(2).to_supervision()) == 0

    def test_not_installed(self, predictor, photo, monkeypatch):
        # Python then raises ModuleNotFoundError.
        monkeypatch.setitem(sys.modules, 'supervision', None)
        with pytest.raises(UserError, match='pip install supervision'):
            predictor.predict(photo).to_supervision()
