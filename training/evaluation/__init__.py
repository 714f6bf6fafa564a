"""What is measured of a network or a graph: accuracy, latency, statistics over seeds, the machine.

Returns records and writes no files. No training, no folding. Import its modules by name: folding
runs `onnx_runner` without torch, which others here need.
"""
