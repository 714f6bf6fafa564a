"""A folded torch network with the proof that it is the network that it was."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from training.errors import UntestedError, VerificationError
from training.folding.fold_text import fold_html, fold_text, total_of
from training.folding.proof.verdict import Verdict
from training.folding.torch_frontend import NormRow, fold_network
from training.folding.torch_frontend.capture import capture
from training.folding.torch_frontend.capture.capture import copied
from training.folding.torch_frontend.folded_network import inputs_of
from training.folding.torch_frontend.in_place import change_in_place
from training.folding.torch_proof.evidence import prove

Example = torch.Tensor | tuple[torch.Tensor, ...]


@dataclass(frozen=True, eq=False, repr=False)
class ProvedNetwork:
    """A torch network without the batch norms that could go, and the proof, which holds.

    Attributes:
        network: the folded network.
        rows: what became of every batch norm: which layers took it up, or why it stays.
        verdict: the proof, None where it was not asked for.
        note: what the network is restricted to, None where it is what it was.
    """

    network: nn.Module
    rows: tuple[NormRow, ...]
    verdict: Verdict | None
    note: str | None = None

    def __repr__(self) -> str:
        return fold_text(self.rows, self._total)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return fold_html(self.rows, self._total)

    @property
    def _total(self) -> str:
        total = total_of(self.rows, self.verdict)
        return total if self.note is None else f"{total}\n{self.note}"


def fold_and_prove(
    network: nn.Module, example: Example, *, clones: bool = False, proof: bool = True
) -> ProvedNetwork:
    """Return a copy of a network with every batch norm folded that can be, and the proof.

    Raises:
        FoldError: torch can neither trace nor export the network, or the example does not fit.
        VerificationError: the proof fails.
        UntestedError: the network cannot be computed in float64, or nothing could be compared.
    """
    folded = fold_network(network, example, clones=clones)
    verdict = None
    if proof:
        exact = folded.exact()
        verdict = _proved(folded.original, folded.network, exact, inputs_of(example))
    return ProvedNetwork(folded.network, folded.rows, verdict, folded.note)


def fold_in_place(network: nn.Module, example: Example, *, proof: bool = True) -> ProvedNetwork:
    """Fold into the network itself what only needs other weights; if anything fails, nothing.

    Raises:
        FoldError: torch can neither trace nor export the network, or the example does not fit.
        VerificationError: the proof fails.
        UntestedError: the network cannot be computed in float64, or nothing could be compared.
    """
    inputs = inputs_of(example)
    captured = capture(network, inputs)
    change = change_in_place(captured)
    verdict = None
    if proof:
        folded, exact = copied(network), copied(network).double()
        for one in (folded, exact):
            change.apply(one)
        verdict = _proved(captured.original, folded, exact, inputs)
    change.apply(network)
    return ProvedNetwork(network, change.rows, verdict)


def _proved(
    original: nn.Module, folded: nn.Module, exact: nn.Module, inputs: tuple[torch.Tensor, ...]
) -> Verdict:
    """Return the verdict, which holds.

    Raises:
        VerificationError: it does not.
        UntestedError: there is nothing to tell it by.
    """
    verdict = prove(original, folded, exact, inputs)
    if not verdict.judged:
        raise UntestedError(
            f"the fold could not be tested: {'; '.join(verdict.notes) or 'no output is finite'}; "
            "proof=False returns it untested"
        )
    if not verdict.holds:
        raise VerificationError(
            f"the fold changes the network, which stays as it was: {verdict}; please report it"
        )
    return verdict
