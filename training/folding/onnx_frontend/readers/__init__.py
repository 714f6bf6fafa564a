"""What each operator of ONNX is to folding: one of a few operations, or opaque.

operators.py    all of them by name
norms.py        batch norms
layers.py       convolutions and matrix products
arithmetic.py   sums, and constants that are added or multiplied
spatial.py      pooling, means, interpolation, padding
layout.py       what only moves numbers
differences.py  differences as sums, and back
fusions.py      functions that runtimes know as one, whose constants stay
context.py      the graph that a node is in, its attributes and shapes
"""
