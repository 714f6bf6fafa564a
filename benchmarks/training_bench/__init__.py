"""How fast the training loop is, next to a tutorial's.

systems.py      what is measured, as data
tutorial.py     the loop that torch's tutorials teach
cell.py         images a second of one system, in a process of its own
accuracy.py     seconds until an accuracy, of both loops
tables.py       the results as the tables of docs/training.md
"""
