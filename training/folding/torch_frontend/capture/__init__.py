"""From a torch network to the graph of its operations, and what one run of that shows.

capture.py      capture: traced by torch.fx, or else exported by torch.export
tracing.py      torch.fx: layers stay modules, sizes stay free
exporting.py    torch.export: what torch.fx cannot trace
translation.py  ATen's operators as the functions that the rest of the front end knows
observation.py  shapes, types, aliases, what is changed in place
constants.py    what does not depend on the input, in float64

Nothing here knows what a batch norm does, and nothing is changed.
"""

from training.folding.torch_frontend.capture.capture import Captured, capture

__all__ = ["Captured", "capture"]
