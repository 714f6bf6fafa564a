"""What can go wrong while asking a server.

TrainingError
└── ClientError
├── RequestError    the caller can mend it: a file, an option, a 4xx answer; exit code 2
├── ServerError     the server cannot be reached, fails or is too busy; exit code 1
└── MismatchError   an answer is not that of its image; exit code 3
"""

from __future__ import annotations

from training.errors import TrainingError


class ClientError(TrainingError):
    """Root of the tree."""


class RequestError(ClientError):
    pass


class ServerError(ClientError):
    exit_code = 1


class MismatchError(ClientError):
    exit_code = 3
