"""One detector on several backbones, all trained in the same way."""
