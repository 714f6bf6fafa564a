"""Random networks as real ONNX files, the same one for the same number.

scope.py       a graph, a body or a function that is being written
constants.py   one array in any of the forms that the format has for it
norms.py       batch norms, and batch norms that are spelled out
layers.py      what is linear with weights
moves.py       what moves numbers, joins channels or adds constants
bodies.py      If, Loop, Scan and functions
model.py       a whole model
oracle.py      whether two models are one, by none of the project's own code

The generator knows which batch norms can go exactly, by construction; the names of the nodes that
they are made of begin with GONE. A test may find more of them gone, never fewer.
"""
