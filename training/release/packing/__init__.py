"""Packing anybody's image classifier as an artifact: what it takes, the graph around it, the proof.

Needs onnx and onnxruntime, no torch. Decoding and resizing are the manifest's and not the graph's.
"""
