"""Online: HTTP bytes in, predictions and comparisons out.

    __main__ > processes > app > api > registry > {inference, images}
             > {observability, settings} > {errors, system}

A room imports from those to its right only. Nothing here imports torch, onnx or `training`.
"""

import os

# numpy's linear algebra is not what runs the networks. Its threads would cost memory in every
# worker, and a process with threads must not fork. Read when numpy is imported, hence here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
