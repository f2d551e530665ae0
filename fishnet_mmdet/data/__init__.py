"""Checks of a data set before it is trained on, and a drawn one to try everything with."""
