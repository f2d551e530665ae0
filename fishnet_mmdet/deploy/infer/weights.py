"""The weights of a detector, with the notes of its checkpoint."""

from typing import Any

from torch import Tensor

from fishnet_mmdet.weights.catalogue import CATALOGUE
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.key_naming import CLASSIFIER_LAYERS
from fishnet_mmdet.weights.load import SCHEME, load_from_fishnet

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
    try:
        content = load_from_fishnet(source)
    except WeightsError as error:
        if 'HistoryBuffer' in str(error) and 'plain-checkpoint' not in str(error):
            raise WeightsError(
                f'{source} was written by MMEngine without PlainCheckpoints and holds pickled objects: refused. '
                f'`fishnet-mmdet plain-checkpoint {source} NEW.pth` writes its content in plain form and executes '
                'nothing'
            ) from error
        raise
    state = content['state_dict']
    if all(key.startswith(('backbone.', *CLASSIFIER_LAYERS)) for key in state):
        raise WeightsError(NOT_A_DETECTOR.format(source))
    return state, content['meta']
