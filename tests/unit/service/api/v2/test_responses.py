"""Every error of the service has a status in the protocol."""

from __future__ import annotations

from service import errors
from service.api.v2.responses import STATUSES, UnsupportedFeatureError, status_of


def test_every_error_of_the_service_has_a_status() -> None:
    classes = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ServiceError)
    }
    assert classes - {errors.ServiceError, errors.RequestError} <= set(STATUSES)


def test_the_status_of_the_nearest_class_is_taken() -> None:
    class Narrower(errors.BodyTooLargeError):
        pass

    assert status_of(Narrower("x")) == 413
    assert status_of(UnsupportedFeatureError("x")) == 501
    assert status_of(errors.ServiceError("x")) == 500
