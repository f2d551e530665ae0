"""Training and testing: from a config to a run, with its loops, checkpoints and guards."""
