"""Folding next to other tools: patterns one by one, and whole networks.

patterns.py     one small network for each pattern
networks.py     known architectures, with random weights and statistics
tools.py        what folds: other tools, and ours
cells.py        one tool on one pattern, in a process of its own
whole.py        one network: batch norms, errors, run times
tables.py       the results as the tables of docs/folding.md
"""
