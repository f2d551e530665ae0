"""The paper: architectures as data, blocks, stages, the backbone and its ImageNet classifier."""
