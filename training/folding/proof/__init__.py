"""The proof that two models are the same but for rounding: inputs, evidence, verdict.

Computes in float64 and as onnxruntime runs it. Never asks the engine what it did, except to fold
the same model again in float64.
"""
