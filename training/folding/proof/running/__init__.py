"""One model run on many inputs: in onnxruntime as it is served, and in float64.

sessions.py     onnxruntime, at one of its levels
reference.py    ONNX's reference implementation, in float64
precision.py    the same model in another type
original.py     which inputs the original takes, and what it returns
exposure.py     models that return inner tensors too
coverage.py     which bodies of control flow they enter
randomness.py   the same random numbers for two models
"""
