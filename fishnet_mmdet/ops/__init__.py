"""The few operations torch lacks: the same results, with less kept for backward. Torch only."""
