"""The equations of folding, once, in float64: maps, linear layers, moved numbers, rounding.

Pure functions of arrays. No graph, no ONNX, no torch.
"""
