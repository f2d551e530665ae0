"""The weights of a detector, with the notes of its checkpoint."""

from typing import Any

from torch import Tensor

from fishnet_mmdet.weights.catalogue import CATALOGUE, SCHEME
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.key_naming import CLASSIFIER_LAYERS
from fishnet_mmdet.weights.load import load_from_fishnet

NOT_A_DETECTOR = (
    '{} holds a backbone or a classifier, not a detector. Inference needs the checkpoint of a trained detector; these '
    'weights are for training one (init_cfg of the backbone)'
)


def read_detector(source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads the weights of a whole detector; nothing in the file is executed.

    Args:
        source: A checkpoint, a `.safetensors` file, or an https address of one.

    Returns:
        The weights by our keys, and the notes of the file.

    Raises:
        WeightsError: The file cannot be read, or holds only a backbone or a classifier.
    """
    if source.removeprefix(SCHEME) in CATALOGUE:
        # Every row is a classifier of ImageNet. It need not be downloaded to be refused.
        raise WeightsError(NOT_A_DETECTOR.format(source))
    content = load_from_fishnet(source)
    state = content['state_dict']
    if all(key.startswith(('backbone.', *CLASSIFIER_LAYERS)) for key in state):
        raise WeightsError(NOT_A_DETECTOR.format(source))
    return state, content['meta']
