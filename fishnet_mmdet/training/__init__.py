"""Hooks and wrappers that the recipe needs beyond MMEngine, and the way from a config to a run."""
