"""From a config to a run: launch, loops, checkpoints, guards."""
