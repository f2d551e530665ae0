"""The few operations that torch lacks: the same results, with less kept for backward. Needs torch only."""
