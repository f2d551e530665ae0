"""A config for one's own data: from a folder of images and annotations to a file that trains.

`own_data` finds the data, `machine` looks at the hardware, `choices` decides, `text` writes, `make` puts it all
together.
"""

from fishnet_mmdet.project.new.make import NewConfig, new_config

__all__ = ['NewConfig', 'new_config']
