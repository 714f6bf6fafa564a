"""Offline: data, recipes, the loop, folding, export, evaluation and release.

What it shares with `service` is a file format, `models`; neither imports the other.
"""
