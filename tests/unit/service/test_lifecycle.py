from __future__ import annotations

import pytest

from service.errors import DrainingError, OverloadedError
from service.lifecycle import Lifecycle


def test_requests_in_progress_are_counted() -> None:
    lifecycle = Lifecycle(max_requests=1)
    with lifecycle.request(), lifecycle.request():
        assert lifecycle.in_progress == 2
    assert lifecycle.in_progress == 0


def test_a_request_that_fails_is_no_longer_counted() -> None:
    lifecycle = Lifecycle(max_requests=1)
    with pytest.raises(ZeroDivisionError), lifecycle.request(), lifecycle.work():
        raise ZeroDivisionError
    assert lifecycle.in_progress == 0
    with lifecycle.work():
        pass


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
    with lifecycle.request(), lifecycle.work():
        lifecycle.start_draining()
        with pytest.raises(DrainingError, match="about to stop"):
            lifecycle.check_admission()
        with pytest.raises(DrainingError), lifecycle.work():
            pass
        assert lifecycle.in_progress == 1
