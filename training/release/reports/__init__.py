"""Artifacts compared, as a table and as figures, from their manifests and histories alone.

Nothing is measured here.
"""
