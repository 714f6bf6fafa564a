"""Offline: data, recipes, the loop, folding, export, evaluation and release.

    cli > release > folding > trainer > evaluation > export > data > {recipes, client} > errors

A room imports from those to its right only. What it shares with `service` is a file format,
`models.bundle`; neither imports the other.
"""
