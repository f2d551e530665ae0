"""A trained detector that takes images and returns plain arrays."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope

from fishnet_mmdet.base.config_nodes import class_names
from fishnet_mmdet.base.errors import ConfigError, UserError
from fishnet_mmdet.deploy.infer.prediction import Prediction
from fishnet_mmdet.deploy.infer.reading import ImagePipeline, inference_dataset
from fishnet_mmdet.deploy.infer.sources import batches, check_batch
from fishnet_mmdet.deploy.infer.weights import read_detector
from fishnet_mmdet.deploy.inference import arguments_of, optimize_for_inference
from fishnet_mmdet.training.launch.config import is_classifier, is_segmentor, read_config
from fishnet_mmdet.training.launch.runner import config_mistakes
from fishnet_mmdet.weights.fitting import fit
from fishnet_mmdet.weights.notes import class_names as names_in_notes

ImageInput = str | Path | np.ndarray


class Predictor:
    """A detector or instance segmentor, with the test pipeline of its config.

    Args:
        config: A config file, or the name of one that ships.
        weights: A checkpoint that training wrote, or any other file (`.safetensors` too) that fits the model key by
            key, or the https address of one.
        device: Such as 'cuda:1' or 'cpu'. Default: the first GPU, or the CPU where there is none.
        optimize: A form of `optimize_for_inference`: 'float32', 'bfloat16', 'float16', 'openvino' or
            'openvino-bfloat16'; None for the model as it was trained.
        options: Settings that override the config, by dotted key, such as
            `{'model.test_cfg.rcnn.score_thr': 0.3}`.

    Attributes:
        model: The model, in eval mode.
        classes: Class names in the order of the labels: those that the checkpoint names, or else the config's.
        score_thresholds: What the model itself leaves out: the scores of its config by key, such as
            `model.test_cfg.rcnn.score_thr`.

    Raises:
        ConfigError: The config cannot be read or has a mistake, or `optimize` is not possible here.
        UserError: The config is not a detector's, or the device cannot be used.
        WeightsError: The weights cannot be read or do not fit.
    """

    def __init__(
        self,
        config: str | Path,
        weights: str | Path,
        device: str | None = None,
        optimize: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        form = arguments_of(optimize) if optimize else None
        self.device = usable_device(device)
        cfg = read_config(str(config), options)
        _check_kind(cfg, str(config))
        dataset = inference_dataset(cfg)
        state, meta = read_detector(str(weights))
        # Before the model is built: mmdet's detectors write into its config.
        self.score_thresholds = dict(_score_thresholds(cfg.model, 'model'))
        self.scope = cfg.get('default_scope') or 'mmdet'
        with config_mistakes(cfg), DefaultScope.overwrite_default_scope(self.scope):
            self.pipeline = ImagePipeline(list(dataset['pipeline']))
            model = revert_sync_batchnorm(MODELS.build(cfg.model))
            self.classes = tuple(names_in_notes(meta) or class_names(dataset))
        model.load_state_dict(fit(state, model.state_dict(), f'{weights} does not fit {config}'))
        model = model.to(self.device).eval()
        self.model = model if form is None else optimize_for_inference(model, **form)
        self.config = str(config)

    def predict(
        self, images: ImageInput | Sequence[ImageInput], batch: int = 1, threshold: float = 0.0
    ) -> Prediction | list[Prediction]:
        """Finds objects on one image or on several.

        Args:
            images: A file, or an array as OpenCV reads it: (H, W, 3), uint8, BGR. Or a list of them.
            batch: Images in a batch. The images of a batch are padded to one size, as in a test with this batch size.
            threshold: The smallest score to keep. The config has a threshold of its own (often
                `model.test_cfg.rcnn.score_thr`).

        Returns:
            A prediction; a list of them for a list.

        Raises:
            UnreadableImage: A file or an array is not an image that can be read.
            UserError: `batch` is below 1.
        """
        if isinstance(images, ImageInput):
            return next(self.stream([images], 1, threshold))
        return list(self.stream(images, batch, threshold))

    def stream(self, images: Iterable[ImageInput], batch: int = 1, threshold: float = 0.0) -> Iterator[Prediction]:
        """Like `predict`, for any number of images: holds no more than a batch of them.

        Yields:
            One prediction for each image, in order.
        """
        check_batch(batch)
        for chunk in batches(images, batch):
            for found in self.predict_loaded([self.read(image) for image in chunk]):
                yield found.above(threshold) if threshold > 0 else found

    def read(self, image: ImageInput) -> dict[str, Any]:
        """Reads an image; see `ImagePipeline.read`."""
        return self.pipeline.read(image)

    @torch.no_grad()
    def predict_loaded(self, loaded: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """Finds objects on a batch of images that `read` returned."""
        with DefaultScope.overwrite_default_scope(self.scope):
            try:
                samples = self.model.test_step(pseudo_collate([self.pipeline.prepare(one) for one in loaded]))
            except torch.cuda.OutOfMemoryError as error:
                raise UserError(
                    f'the GPU has too little memory for {len(loaded)} images at once: use a smaller batch or a '
                    'smaller scale in the test pipeline'
                ) from error
        return [self._prediction(sample) for sample in samples]

    def _prediction(self, sample: Any) -> Prediction:
        found = sample.get('pred_instances')
        if found is None:
            raise ConfigError(
                f'{self.config}: {type(self.model).__name__} gives no instances, so there are no boxes to return. '
                "Panoptic maps: mmdet's DetInferencer, or `fishnet-mmdet test --show-dir`"
            )
        masks, boxes = _masks(found), _boxes(found)
        if masks is not None and not boxes.any():
            # Detectors without a box branch, such as SOLO, give zeros.
            boxes = _boxes_of_masks(masks)
        labels = found.labels.cpu().numpy().astype(np.int64)
        names = tuple(self.classes[i] if i < len(self.classes) else f'class {i}' for i in labels)
        height, width = sample.ori_shape[:2]
        return Prediction(boxes, found.scores.float().cpu().numpy(), labels, names, masks, height, width)


def usable_device(name: str | None) -> torch.device:
    """Returns the device of a name, or the default one.

    Raises:
        UserError: There is no such device, or it cannot be used.
    """
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    # torch raises different types for a wrong name, a missing GPU and a build without CUDA.
    except Exception as error:
        raise UserError(f'device {name!r} cannot be used: {str(error).splitlines()[0]}') from error
    return device


def _check_kind(cfg: Config, config: str) -> None:
    """Refuses classifiers and segmentors, whose results are not boxes."""
    if is_classifier(cfg):
        kind, tool = 'classifier', 'mmpretrain.ImageClassificationInferencer'
    elif is_segmentor(cfg):
        kind, tool = 'semantic segmentor', 'mmseg.apis.MMSegInferencer'
    else:
        return
    raise ConfigError(f'{config} is a {kind}, which finds no boxes: {tool} predicts with its config and checkpoint')


def _score_thresholds(node: Mapping, path: str) -> Iterator[tuple[str, float]]:
    for key, value in node.items():
        if key == 'score_thr' and value:
            yield f'{path}.{key}', value
        elif isinstance(value, Mapping):
            yield from _score_thresholds(value, f'{path}.{key}')


def _boxes(found: Any) -> np.ndarray:
    boxes = found.get('bboxes')
    if boxes is None:
        return np.zeros((len(found), 4), np.float32)
    # Models may return mmdet's box objects.
    boxes = getattr(boxes, 'tensor', boxes)
    return boxes.float().cpu().numpy().reshape(-1, 4)


def _masks(found: Any) -> np.ndarray | None:
    masks = found.get('masks')
    return None if masks is None else np.asarray(masks.cpu() if isinstance(masks, torch.Tensor) else masks, bool)


def _boxes_of_masks(masks: np.ndarray) -> np.ndarray:
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes
