from __future__ import annotations

import pytest

from service.api.admission import Admission
from service.errors import DrainingError, OverloadedError


def test_work_that_fails_is_no_longer_counted() -> None:
    admission = Admission(max_requests=1)
    with pytest.raises(ZeroDivisionError), admission.work():
        raise ZeroDivisionError
    assert admission.working == 0
    with admission.work():
        assert admission.working == 1


def test_bodies_are_held_up_to_the_bound_and_released() -> None:
    admission = Admission(max_requests=1, max_held_bytes=10)
    admission.hold(8)
    with pytest.raises(
        OverloadedError, match=r"hold 8 bytes and this one brings 3 more; at most 10"
    ):
        admission.hold(3)
    assert admission.held_bytes == 8
    admission.release(8)
    admission.hold(10)


def test_more_work_than_the_bound_is_refused() -> None:
    admission = Admission(max_requests=1)
    with (
        admission.work(),
        pytest.raises(OverloadedError, match=r"1 requests .* at most 1"),
        admission.work(),
    ):
        pass


def test_draining_refuses_new_work_and_keeps_what_runs() -> None:
    admission = Admission(max_requests=2)
    with admission.work():
        admission.start_draining()
        with pytest.raises(DrainingError, match="about to stop"):
            admission.check()
        with pytest.raises(DrainingError), admission.work():
            pass
        assert admission.working == 1
