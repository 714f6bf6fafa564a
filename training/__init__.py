"""Offline. A room imports from those to its right only; with `service` it shares `models.bundle`.

cli > release > folding > trainer > evaluation > export > data > {recipes, client} > errors
"""
