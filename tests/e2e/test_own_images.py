"""Handwritten digits as a folder of PNGs, and a network of one's own, by the commands of a user."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.digits import FOLDNORM, run_path, write_digits
from models.bundle import load_bundle

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-architecture.md").read_text(encoding="utf-8")
MINUTES = 5


@pytest.mark.systems
def test_digits_are_learnt_to_97_percent_and_served_at_their_own_size(tmp_path):
    write_digits(tmp_path / "digits")
    found = run_path(tmp_path)
    assert found["accuracy"] >= 0.97
    assert found["test_images"] == 359
    assert found["input"] == ["N", 16, 16, 3]
    assert found["served_right"] >= 9  # of ten, one a class; some were trained on
    assert sum(found["seconds"].values()) < 60 * MINUTES


def test_the_page_of_ones_own_network_runs_as_it_is_written(tmp_path):
    for name, kind in (("nets.py", "python"), ("my-net.toml", "toml")):
        (text,) = re.findall(rf"`{name}`[^`]*```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)
        (tmp_path / name).write_text(text, encoding="utf-8")
    write_digits(tmp_path / "digits", most=40)
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    train, export, serve = block.splitlines()
    assert serve == "FOLDNORM_ARTIFACTS=artifacts foldnorm-serve"  # run by the test above
    for line in (train, export):
        program, *arguments = line.split()
        assert program == "foldnorm"
        subprocess.run(
            [*FOLDNORM, *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": str(Path(sys.executable).parent)},
            check=True,
            capture_output=True,
        )
    artifact = load_bundle(tmp_path / "artifacts" / "my-net-1.0.0")
    report = artifact.manifest.fold
    assert len(report.layers) == 5
    assert all(layer.into for layer in report.layers)
    assert report.proof.holds
    assert artifact.manifest.measured.test.accuracy > 0.5  # a tenth is chance
