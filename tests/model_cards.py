"""Spares configs the reading of mmdet's model cards.

For every base such as `mmdet::_base_/default_runtime.py`, MMEngine reads a hundred YAML files first, which takes longer
than all the rest of reading a config.
"""

from functools import cache

from mmengine.config import utils


def read_each_once():
    """Makes MMEngine remember the model cards that it has read, in this process."""
    if not hasattr(utils.load, 'cache_info'):
        utils.load = cache(utils.load)
