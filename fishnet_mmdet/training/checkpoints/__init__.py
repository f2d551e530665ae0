"""Checkpoints: plain content, durable files, exact resume."""
