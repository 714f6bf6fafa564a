"""What is measured of a network or a graph: accuracy, latency, statistics, the environment.

Returns records and writes no files. No training, no folding.
"""
