"""Data sets that are drawn, for the demos and the tests."""
