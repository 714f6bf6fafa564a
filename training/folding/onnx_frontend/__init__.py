"""The ONNX front end: a model becomes the neutral graph, and takes back what folding did; no torch.

constants.py    what is the same in every run, in float64
operators.py    what each operator is to folding
view.py         the neutral graph of an ONNX graph
write_back.py   what folding did, into the ONNX graph
folding.py      all of it, for a model
"""
