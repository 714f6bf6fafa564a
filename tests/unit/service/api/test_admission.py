from __future__ import annotations

import pytest

from service.api.admission import Lifecycle
from service.errors import DrainingError, OverloadedError


def test_work_that_fails_is_no_longer_counted() -> None:
    lifecycle = Lifecycle(max_requests=1)
    with pytest.raises(ZeroDivisionError), lifecycle.work():
        raise ZeroDivisionError
    assert lifecycle.working == 0
    with lifecycle.work():
        assert lifecycle.working == 1


def test_bodies_are_held_up_to_the_bound_and_released() -> None:
    lifecycle = Lifecycle(max_requests=1, max_held_bytes=10)
    lifecycle.hold(8)
    with pytest.raises(
        OverloadedError, match=r"hold 8 bytes and this one brings 3 more; at most 10"
    ):
        lifecycle.hold(3)
    assert lifecycle.held_bytes == 8
    lifecycle.release(8)
    lifecycle.hold(10)


def test_more_work_than_the_bound_is_refused() -> None:
    lifecycle = Lifecycle(max_requests=1)
    with (
        lifecycle.work(),
        pytest.raises(OverloadedError, match=r"1 requests .* at most 1"),
        lifecycle.work(),
    ):
        pass


def test_draining_refuses_new_work_and_keeps_what_runs() -> None:
    lifecycle = Lifecycle(max_requests=2)
    with lifecycle.work():
        lifecycle.start_draining()
        with pytest.raises(DrainingError, match="about to stop"):
            lifecycle.check_admission()
        with pytest.raises(DrainingError), lifecycle.work():
            pass
        assert lifecycle.working == 1
