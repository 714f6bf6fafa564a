"""Artifacts side by side, as a table and as figures, from their manifests and histories alone."""
