"""Times and memory of contenders, measured in turns."""
