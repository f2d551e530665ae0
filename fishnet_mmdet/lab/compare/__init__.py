"""One detector on several backbones, trained alike."""
