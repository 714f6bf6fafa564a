"""A run becomes an artifact: graphs, proof, metrics and model card, whole or not at all.

The only place that writes artifacts, and that checks them whole. Serving reads them by
`models.bundle`; no module here may be imported by the rooms below.
"""
