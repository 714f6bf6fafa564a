"""What can be wrong with a network's batch norms, found before they are folded or served.

finding.py      what a check says
record.py       what is known of one batch norm, wherever it was read
checks.py       every check of one batch norm
graphs.py       records of an ONNX model; no torch
states.py       records of torch weights by name; no torch
weights.py      files of torch weights; needs torch
measured.py     how a network's statistics fit its data; needs torch
diagnosis.py    findings as one JSON document, and as a table

Nothing is changed or written here.
"""
