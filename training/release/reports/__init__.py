"""Artifacts compared, as a table and as figures, and the verdict on one of them.

Nothing is measured here.
"""
