"""Studies of the network: benchmark, comparison of backbones, figures, the paper's tables, drawn data.

Only its own commands (`fishnet_mmdet/commands/`) and the tests import it; no other room of the package does.
"""
