"""Folding batch norm into the layers around it: plan, check with a reason, rewrite, prove.

affine.py        maps per channel, which batch norms are in inference mode
linear_map.py    layers that take them up, in float64, rounded once at the end
rounding.py      that rounding
graph.py         what the rules see of a network
rules/           one rule per pattern
rulebook.py      all of them
planner.py       asks the rules until nothing more can go
ledger.py        which values still carry the numbers of the original
report.py        what became of every batch norm
onnx_graphs/     the front end for ONNX files, without torch
torch_networks/  the front end for torch networks
verdict.py       whether two models are the same but for rounding
inputs.py        the inputs on which that is tried
proof.py         the verdict on a released artefact, with its test set
adversarial.py   images on which a wrong fold shows
"""
