"""A run becomes an artifact: graphs, proof, metrics and model card, whole or not at all.

The only place that writes artifacts. Serving reads them by `models.bundle`.
"""
