"""`foldnorm study`: what its options do to a study."""

import pytest
from typer.testing import CliRunner

from training.cli.study import study


@pytest.mark.parametrize(("options", "left"), [((), 0), (("--precision", "float32"), 36)])
def test_in_another_precision_a_study_is_another_one(options, left):
    """Its runs are others, and its tables do not go where those are that ship."""
    told = CliRunner().invoke(study, ["plan", "which-change", "--device", "cpu", *options])
    assert f"36 runs, {left} to train" in told.output
