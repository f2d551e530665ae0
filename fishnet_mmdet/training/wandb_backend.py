"""Weights & Biases without the code of the current folder."""

from typing import Any

from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from mmengine.visualization import WandbVisBackend


@VISBACKENDS.register_module()
class WandbFigures(WandbVisBackend):
    """MMEngine's backend with figures, pictures and the config, and without the source files.

    MMEngine's also uploads every Python file below the current folder, which in a clone are those of `.venv` too.
    """

    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Records the config."""
        self.experiment.config.update(config.to_dict(), allow_val_change=True)
