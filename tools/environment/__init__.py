"""The set-up of an environment from nothing. It runs before anything is installed: Python's standard library only."""
