"""How far rounding takes the original itself, near inputs on which another model is farther off.

On a single sample the original may be right by chance, where next to it rounding errors grow a
thousandfold; the other model is then no worse, and looks it. So its error is measured on inputs a
little off as well, each against float64 on the same inputs, and counts for that kind of input only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from training.errors import GraphError
from training.folding.proof.evidence import Evidence, Results
from training.folding.proof.inputs.seeded import Feed, nudged
from training.folding.proof.running.original import LEVELS, run_reference, run_sessions

Noise = Mapping[tuple[str, str], float]  # of an output and a kind of input, over the scale


def noise_nearby(model: ir.Model, feeds: Sequence[Feed], floor: float) -> Noise:
    """Return the original's largest relative errors on inputs a little off; none if it cannot run.

    `floor` is that of `FourLogits`.
    """
    noise: dict[tuple[str, str], float] = {}
    try:
        for one in _evidence(model, [near for feed in feeds for near in nudged(feed)], floor):
            if one.skipped is None and one.four.is_finite and one.four.scale:
                place = (one.output, one.kind)
                noise[place] = max(noise.get(place, 0.0), one.four.noise)
    except GraphError:
        return {}
    return noise


def _evidence(model: ir.Model, feeds: Sequence[Feed], floor: float) -> Iterator[Evidence]:
    """Yield what the original is against itself in float64.

    Raises:
        GraphError: it does not run.
    """
    truth = run_reference(model, feeds)
    served = [run_sessions(model, feeds, level, anew=False) for level in LEVELS]
    for place, feed in enumerate(feeds):
        exact, *runs = truth[place], *(one[place] for one in served)
        if isinstance(exact, GraphError) or any(isinstance(run, GraphError) for run in runs):
            continue
        columns = zip(exact.values(), *(run.values() for run in runs), strict=True)  # type: ignore[union-attr] # none is an error
        for name, (right, *ours) in zip(runs[0], columns, strict=True):  # type: ignore[arg-type] # nor this
            yield from Results(name, feed, right, None, ours, [], ours).evidence(floor)
