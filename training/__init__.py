"""Offline: data, recipes, the loop, folding, export, evaluation and figures."""
