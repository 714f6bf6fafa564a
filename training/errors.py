"""The errors that a user of the offline tools can cause and mend.

    TrainingError
    ├── DataError          the dataset is missing, truncated or not the published one
    ├── RecipeError        a recipe does not exist or holds a wrong key or value
    ├── StudyError         a study does not exist, holds a wrong key or value, or its runs failed
    ├── CheckpointError    a checkpoint is missing, unreadable or of another run
    ├── DivergedError      the loss stopped being a number
    ├── WorkersError       of several processes that train together one is gone
    ├── SaveError          a run cannot be saved or reported; what was saved before is kept
    ├── GraphError         an ONNX file cannot be loaded, or is no graph of ours
    ├── FoldError          a network cannot be read by the folding engine
    ├── ExportError        a run or a network cannot become an artifact
    ├── FoldFaultError     a fold would be no valid model: a fault of this program
    ├── VerificationError  a proof failed: two networks that must agree do not
    ├── UntestedError      a proof could not be made: nothing could be compared
    └── ClientError        asking a server failed; `training.client.errors` has its tree

The command line prints the message of any of them as one line and exits with `exit_code`.
"""

from __future__ import annotations


class TrainingError(Exception):
    """Root of the tree; the message names the value, what was expected and the remedy."""

    exit_code = 2


class DataError(TrainingError):
    """The dataset on disk is not the published one."""


class RecipeError(TrainingError):
    """A recipe is unknown or does not say what a recipe must say."""


class StudyError(TrainingError):
    """A study cannot be read, or some of its runs failed."""


class CheckpointError(TrainingError):
    """A checkpoint cannot continue the run that was asked for."""


class DivergedError(TrainingError):
    """Training produced a loss that is not finite."""

    exit_code = 1


class WorkersError(TrainingError):
    """Of several processes that train one network together one is gone."""

    exit_code = 1


class SaveError(TrainingError):
    """A run cannot be saved, or nobody can be told of it."""

    exit_code = 1


class GraphError(TrainingError):
    """onnxruntime cannot load or run a graph."""


class FoldError(TrainingError):
    """A network cannot be read or written by the folding engine."""


class ExportError(TrainingError):
    """A run has nothing to release, or its graph would hold unexpected operators."""


class FoldFaultError(TrainingError):
    """What folding made is no valid model, though the model is one."""

    exit_code = 1


class VerificationError(TrainingError):
    """Networks that must be equal are not."""

    exit_code = 3


class UntestedError(TrainingError):
    """Whether networks are equal could not be tested: no input that was tried shows it."""

    exit_code = 4
