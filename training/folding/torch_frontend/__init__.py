"""Folding in torch networks: modules and functions alike, traced by torch.fx.

folded_network.py  fold_network: capture, view, plan, write back
capture/           from the network to a graph of its operations, and what one run shows
calls.py           one way to ask modules, functions and methods for their arguments
layers.py          convolutions and dense layers, weight norm too, read and built anew
norms.py           batch norms, read and built anew
frozen.py          modules that are batch norms by what they compute
operations.py      pooling, padding, reshaping, arithmetic
view.py            the neutral graph of all that
write_back.py      from the folded neutral graph to a torch network
arrays.py          tensors as numpy arrays, and back

onnx may not be imported here.
"""

from training.folding.torch_frontend.folded_network import FoldedNetwork, NormRow, fold_network

__all__ = ["FoldedNetwork", "NormRow", "fold_network"]
