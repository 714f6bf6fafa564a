"""The equations of folding, once, in float64: maps per channel, linear layers, rounding.

Pure functions of arrays. No graph, no ONNX, no torch.
"""
