"""From a torch network to the ONNX graph that is served.

Knows no run and no artifact: `training.release` makes those.
"""
