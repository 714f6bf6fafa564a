"""How the missing runs of a study are trained: as processes of this machine, or on Ray.

An executor takes jobs and yields each as it ends. What a run is, whether it is wanted and what it
came to is not known here, only the folder that it trains in.
"""

from training.studies.execution.job import Executor, Job, Outcome
from training.studies.execution.local import LocalExecutor

__all__ = ["Executor", "Job", "LocalExecutor", "Outcome"]
