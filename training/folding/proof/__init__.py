"""The proof that two models are the same but for rounding: inputs, evidence, verdict.

inputs/                     what is tried
running/                    a model as onnxruntime runs it, and in float64
comparison.py               two models, run one after the other on the same inputs
evidence.py                 four sets of numbers for the same inputs
tolerances.py, verdict.py   what is accepted as rounding, and the verdict
layer_errors.py             the error of each fold by itself
prove.py                    all of it, for a fold and for two models

Believes nothing that the engine reports: it compares numbers, and folds only to have the same fold
in float64.
"""

from training.folding.proof.prove import compare_models, prove_fold
from training.folding.proof.verdict import Verdict

__all__ = ["Verdict", "compare_models", "prove_fold"]
