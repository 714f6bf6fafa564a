"""The ONNX front end: a model becomes the neutral graph, and takes back what folding did.

files.py         reading and writing ONNX files, whole or not at all
constants.py     what is the same in every run, in float64
operators.py     what each operator is to folding
layout.py        those that only move numbers
fusions.py       spelled-out functions that runtimes know as one
differences.py   a - b as a sum, and back
weight_norms.py  batch norms of constants, computed
view.py          the neutral graph of an ONNX graph
write_back.py    what folding did, into the ONNX graph
folded_model.py  all of it, for a model

torch may not be imported here.
"""

from training.folding.onnx_frontend.files import read_model, write_model
from training.folding.onnx_frontend.folded_model import FoldedModel, fold_model

__all__ = ["FoldedModel", "fold_model", "read_model", "write_model"]
