"""Drawn data sets for the demos and the tests."""
