"""Configs for a project of one's own: other people's configs with FishNet in them, and configs for one's own data."""
