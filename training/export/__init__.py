"""From a torch network to the ONNX graph that is served, and what can be counted on it.

Knows no run and no artifact: `training.release` makes those.
"""
