"""A wheel of the checkout, in an environment of its own, works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "foldnorm.py")
PREDICT = f"print(foldnorm.load('keras-bn').predict({str(ROOT / 'docs/images/frog.png')!r}))"

pytestmark = pytest.mark.skipif(not find_spec("setuptools"), reason="setuptools builds the wheel")


def run(*command: object, folder: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**environment, **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources: what earlier builds left beside them must not get in."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    sources.mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, sources)
    for name in ("models", "service", "training"):
        shutil.copytree(
            ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__", "*.onnx")
        )
    command = "-m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir . ./sources"
    built = run(sys.executable, *command.split(), folder=folder)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel; what it depends on comes from this one."""
    folder = tmp_path_factory.mktemp("installed")
    made = run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    assert made.returncode == 0, made.stderr
    binaries = folder / "venv" / "bin"
    site = run(
        binaries / "python",
        "-c",
        "import sysconfig; print(sysconfig.get_path('purelib'))",
        folder=folder,
    ).stdout.strip()
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = ["-m", "pip", "--python", binaries / "python", "install", "--quiet", "--no-deps"]
    done = run(sys.executable, *install, wheel, folder=folder)
    assert done.returncode == 0, done.stderr
    return binaries


def test_the_wheel_holds_the_face_the_packages_and_the_recipes(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"foldnorm.py", "models/bundle.py", "service/app.py", "training/errors.py"} <= names
    assert "training/recipes/keras-bn.toml" in names
    page = ROOT / "service" / "api" / "page" / "web"
    assert {
        f"service/api/page/web/{path.relative_to(page).as_posix()}"
        for path in page.rglob("*")
        if path.is_file()
    } <= names


def test_the_wheel_brings_no_trained_networks_and_load_says_so(
    wheel: Path, installed: Path, tmp_path: Path
) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("models/artifacts")] == []
    result = run(installed / "python", "-c", f"import foldnorm; {PREDICT}", folder=tmp_path)
    assert "an installed package brings no trained networks; name an artifact's" in result.stderr


def test_it_classifies_with_the_networks_that_a_setting_names(
    installed: Path, tmp_path: Path
) -> None:
    program = f"import foldnorm, sys; {PREDICT}; print(foldnorm.__file__)"
    artifacts = ROOT / "models" / "artifacts"
    command = (installed / "python", "-c", program)
    result = run(*command, folder=tmp_path, FOLDNORM_ARTIFACTS=artifacts)
    assert result.returncode == 0, result.stderr
    assert "label='frog'" in result.stdout
    assert str(installed.parent) in result.stdout  # the installed one, not the checkout's


@pytest.mark.parametrize(("command", "exit_code"), [("foldnorm", 2), ("foldnorm-serve", 1)])
def test_a_command_is_shadowed_by_pythonpath_only(
    installed: Path, tmp_path: Path, command: str, exit_code: int
) -> None:
    own = tmp_path / "models.py"
    own.write_text("class User: pass")
    fine = run(installed / command, "--help", folder=tmp_path)
    assert fine.returncode == 0, fine.stderr
    shadowed = run(installed / command, "--help", folder=tmp_path, PYTHONPATH=tmp_path)
    assert shadowed.returncode == exit_code
    (line,) = shadowed.stderr.splitlines()
    assert line.startswith(f"{command}: the command needs Foldnorm's package 'models'")
    assert str(own) in line


def test_a_script_beside_models_of_its_own_is_told_which_file_is_in_the_way(
    installed: Path, tmp_path: Path
) -> None:
    own = tmp_path / "models" / "__init__.py"
    own.parent.mkdir()
    own.touch()
    (tmp_path / "script.py").write_text(f"import foldnorm\n{PREDICT}")
    result = run(installed / "python", "script.py", folder=tmp_path)
    assert f"Python finds {own}; rename that" in result.stderr
