"""Measurements whose results are committed in `results/`; none of them is a test."""
