"""Checkpoints: plain content, atomic writing, exact resume."""
