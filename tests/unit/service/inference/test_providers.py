from __future__ import annotations

import pytest

from service.errors import ModelRefusedError
from service.inference.providers import CPU, CUDA, choose_provider


def nothing() -> None:
    return None


def no_driver() -> str:
    return "the driver is not installed"


def never_asked() -> str:
    raise AssertionError("CUDA was looked for")


def test_cuda_runs_where_nothing_is_in_its_way() -> None:
    assert choose_provider("auto", nothing).name == CUDA
    assert choose_provider("on", nothing).name == CUDA


def test_the_cpu_runs_elsewhere_and_the_reason_is_known() -> None:
    provider = choose_provider("auto", no_driver)
    assert (provider.name, provider.reason) == (CPU, "the driver is not installed")


def test_cuda_switched_off_is_not_even_looked_for() -> None:
    assert choose_provider("off", never_asked).name == CPU


def test_cuda_demanded_and_missing_is_an_error_that_says_why() -> None:
    with pytest.raises(ModelRefusedError, match="FOLDNORM_CUDA=on, but the driver is not install"):
        choose_provider("on", no_driver)
