"""Plan, check with a reason, rewrite: folding on a neutral graph that both front ends build.

A new pattern is one module in `rules`. Neither ONNX nor torch is known here.
"""
