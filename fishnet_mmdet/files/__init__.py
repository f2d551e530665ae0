"""Helpers for files: atomic writing."""
