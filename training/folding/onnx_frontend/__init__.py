"""The ONNX front end: a model becomes the neutral graph, and takes back what folding did.

files.py         reading and writing ONNX files, whole or not at all
proto/           what is read, before it is a model
shapes.py        sizes and types, as far as they follow from the inputs
constants.py     what is the same in every run, in float64
weight_norms.py  batch norms of constants, computed
materialize.py   constants that the graph computes, as initializers
readers/         what each operator is to folding
view.py          the neutral graph of an ONNX graph
write_back.py    what folding did, into the ONNX graph
folded_model.py  all of it, for a model

torch may not be imported here.
"""

from training.folding.onnx_frontend.files import read_model, write_model
from training.folding.onnx_frontend.folded_model import FoldedModel, fold_model

__all__ = ["FoldedModel", "fold_model", "read_model", "write_model"]
