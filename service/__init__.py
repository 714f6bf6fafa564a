"""Online: HTTP bytes in, predictions and comparisons out."""

import os

# numpy's linear algebra is not what runs the networks. Its threads would cost memory in every
# worker, and a process with threads must not fork. Read when numpy is imported, hence here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
