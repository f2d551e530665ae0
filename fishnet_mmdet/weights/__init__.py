"""Weights by name or from any file a user has: read safely, renamed by layout, fitted strictly."""
