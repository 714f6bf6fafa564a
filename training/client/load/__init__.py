"""Measures a server honestly: open and closed loops, their samples, the report of each step.

Asks through `training.client.connection`; no network and no label may be known here.
"""
