"""What can go wrong while answering; knows no HTTP.

    ServiceError
    ├── RequestError                  the caller can mend it
    │   ├── MalformedRequestError     the request is not of the form that the route takes
    │   ├── UnknownModelError         no model of that name is served
    │   ├── BodyTooLargeError         more bytes, or more images, than one request may bring
    │   ├── UnsupportedMediaError     neither an image type that is decoded nor JSON nor multipart
    │   ├── UndecodableImageError     the bytes are no image, or a damaged one
    │   └── TooManyPixelsError        the header announces more pixels than are decoded
    ├── OverloadedError               the queue is full; carries `retry_after_s`
    │   └── DrainingError             the process is about to stop; carries it too
    ├── DeadlineExceededError         no answer in time
    └── ModelRefusedError             a model failed its start-up checks and is not served

    StartError                        the processes cannot start; no caller ever sees it

`service.api.problems` maps each to its status and problem type. A message names the value, the
limit and the remedy, and is shown to the caller as it is.
"""

from __future__ import annotations


class ServiceError(Exception):
    """Root of the tree."""


class RequestError(ServiceError):
    """The caller can mend it."""


class MalformedRequestError(RequestError):
    pass


class UnknownModelError(RequestError):
    pass


class BodyTooLargeError(RequestError):
    pass


class UnsupportedMediaError(RequestError):
    pass


class UndecodableImageError(RequestError):
    pass


class TooManyPixelsError(RequestError):
    pass


class OverloadedError(ServiceError):
    """The queue is full; `retry_after_s` is when it is expected to have room, in seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DrainingError(OverloadedError):
    """The process finishes what it has accepted and takes nothing new."""


class DeadlineExceededError(ServiceError):
    pass


class ModelRefusedError(ServiceError):
    pass


class StartError(Exception):
    """The workers cannot start; the message says why."""
