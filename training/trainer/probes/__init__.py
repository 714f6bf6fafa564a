"""What a run measures beside its training, without changing it.

Each probe works on a copy of the network and on random numbers of its own, in float32 and
uncompiled, so weights, statistics and draws are bit for bit those of a run without probes.
Which ones a run has, its recipe says (`[probes]`); what they found goes into `measures.jsonl`.
"""

from training.trainer.probes.measurement import Measurement
from training.trainer.probes.probing import Probing

__all__ = ["Measurement", "Probing"]
