"""Which models are served, how that changes, and the one way to ask one of them.

Knows models and images, never HTTP: a route hands it image files, or pixels, and gets scores.
"""
