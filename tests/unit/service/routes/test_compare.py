from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from service.errors import MalformedRequestError
from service.routes.compare import check_comparable

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.served_model import ServedModel

    MakeModel = Callable[..., ServedModel]


def test_models_of_the_same_classes_can_be_compared(make_model: MakeModel) -> None:
    check_comparable([make_model("a"), make_model("b")])


def test_one_model_is_not_compared(make_model: MakeModel) -> None:
    with pytest.raises(MalformedRequestError, match="at least 2 models, not only a"):
        check_comparable([make_model("a")])


def test_models_of_different_classes_are_not_compared(make_model: MakeModel) -> None:
    other = make_model("b")
    manifest = replace(other.bundle.manifest, labels=("cat", "dog"))
    other = replace(other, bundle=replace(other.bundle, manifest=manifest))
    with pytest.raises(MalformedRequestError, match="a and b know different classes"):
        check_comparable([make_model("a"), other])
