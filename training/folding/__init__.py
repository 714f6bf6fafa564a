"""Folding batch norm into the layers around it: plan, check with a reason, rewrite, prove.

algebra/         maps per channel and linear layers, in float64, rounded once at the end
engine/          a neutral graph, one rule per pattern, the planner that asks them
onnx_frontend/   ONNX files, without torch
torch_frontend/  torch networks
proof/           whether two models are the same but for rounding
torch_proof/     the same of a torch network and its fold
doctor/          what can be wrong with a network's batch norms
onnx_fold.py     an ONNX model folded, proved, measured and written
fold_report.py   a fold and a verdict, as JSON and as tables of the command
fold_text.py     a fold as text and HTML; plain_table.py makes them

Nothing is folded approximately. Only `doctor` reads artifacts and runs; nothing here writes one.
"""
