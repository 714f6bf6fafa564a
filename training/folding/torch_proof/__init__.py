"""The proof that folding a torch network changed nothing but rounding, and the folded network.

evidence.py        four sets of numbers for the same inputs, as torch computes them
proved_network.py  fold_and_prove, fold_in_place: the result, with its verdict

What is accepted as rounding, the inputs and the verdict are those of `proof`. No file is read or
written here.
"""

from training.folding.torch_proof.proved_network import (
    ProvedNetwork,
    fold_and_prove,
    fold_in_place,
)

__all__ = ["ProvedNetwork", "fold_and_prove", "fold_in_place"]
