"""Studies: a question as data, executed as runs over cells and seeds, reported with its verdict.

A study says its design before its first run. What is reported follows from its rows alone.
"""
