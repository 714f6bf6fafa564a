"""`import foldnorm` is light, is used by nobody below it, and says which file shadows a package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.test_imports import imports_of, loaded_modules, roots

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "images"
ARTIFACT = ROOT / "models" / "artifacts" / "keras-bn-1.1.0"
LOAD = f"foldnorm.load({str(ARTIFACT)!r}).predict({str(EXAMPLES / 'frog.png')!r})"
FOLD_ONNX = f"foldnorm.fold_onnx({str(ARTIFACT / 'model.unfolded.onnx')!r})"
FOLD = """foldnorm.fold(torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
).eval(), torch.zeros(1, 3, 8, 8))"""


def run(
    program: str, folder: Path, *options: str, path: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a script of a folder: its files are found before those on the path."""
    (folder / "script.py").write_text(program, encoding="utf-8")
    return subprocess.run(
        [sys.executable, *options, "script.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_it_loads_the_standard_library_only() -> None:
    foreign = loaded_modules("foldnorm") - loaded_modules("sys") - set(sys.stdlib_module_names)
    assert foreign == {"foldnorm"}


def test_what_it_is_made_of_does_not_import_it() -> None:
    for package in ("models", "service", "training"):
        for path, names in imports_of(package).items():
            assert "foldnorm" not in roots(names), path


def test_the_readme_s_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for name in ("docs", "models"):  # as the reader stands: in the checkout
        (tmp_path / name).symlink_to(ROOT / name)
    result = run(example, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "frog" in result.stdout
    assert "the proof holds" in result.stdout


@pytest.mark.parametrize(
    ("call", "package"),
    [(LOAD, "models"), (LOAD, "service"), (FOLD_ONNX, "training"), (FOLD, "training")],
)
@pytest.mark.parametrize("form", ["{}.py", "{}/__init__.py"])
def test_a_file_that_shadows_a_package_is_named(
    tmp_path: Path, call: str, package: str, form: str
) -> None:
    own = tmp_path / form.format(package)
    own.parent.mkdir(exist_ok=True)
    own.write_text("raise SystemExit('a file of the user, which nobody asked for, was run')")
    result = run(f"import foldnorm, torch\n{call}", tmp_path)
    assert result.returncode == 1
    *_, error = result.stderr.splitlines()
    assert error.startswith("foldnorm.ShadowedPackageError: foldnorm.")
    assert f"package {package!r}, {ROOT / package}, but" in error
    assert f"Python finds {own}; rename that" in error


def test_a_module_of_the_user_s_that_is_imported_already_is_named(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("class User: pass")
    result = run(f"import foldnorm, models\n{LOAD}", tmp_path)
    assert f"Python has already imported {tmp_path / 'models.py'}" in result.stderr


def test_a_module_without_a_file_shadows_too(tmp_path: Path) -> None:
    program = (
        f"import foldnorm, sys, types\nsys.modules['models'] = types.ModuleType('models')\n{LOAD}"
    )
    assert "has already imported a module without a file" in run(program, tmp_path).stderr


def test_what_shadows_nothing_that_a_call_needs_does_no_harm(tmp_path: Path) -> None:
    for name in ("models.py", "service.py"):
        (tmp_path / name).write_text("class User: pass")
    result = run(
        f"import foldnorm, torch\n{FOLD}\n{FOLD_ONNX}\nfrom models import User\nimport service",
        tmp_path,
    )
    assert result.returncode == 0, result.stderr


def test_a_folder_without_init_shadows_nothing_of_an_ordinary_path(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    result = run(f"import foldnorm\nprint({LOAD})", tmp_path)
    assert "label='frog'" in result.stdout, result.stderr


def test_the_remedy_of_the_message_helps(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("class User: pass")
    result = run(f"import foldnorm\nprint({LOAD})", tmp_path, "-P")
    assert "label='frog'" in result.stdout, result.stderr


def test_where_ours_shadows_the_user_s_python_names_our_file(tmp_path: Path) -> None:
    """So it is where the user's project stands behind us, as an editable install does."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "models.py").write_text("class User: pass")
    program = "import sys\nsys.path.append('project')\nfrom models import User"
    result = run(program, tmp_path)
    assert f"cannot import name 'User' from 'models' ({ROOT}/models/__init__.py)" in result.stderr


@pytest.mark.parametrize(
    ("command", "exit_code", "package"),
    [("run_offline_command", 2, "training"), ("run_service_command", 1, "models")],
)
def test_a_shadowed_command_ends_with_one_line(
    tmp_path: Path, command: str, exit_code: int, package: str
) -> None:
    (tmp_path / f"{package}.py").touch()
    result = run(f"import foldnorm\nfoldnorm.{command}()", tmp_path)
    assert result.returncode == exit_code
    (line,) = result.stderr.splitlines()
    assert str(tmp_path / f"{package}.py") in line


def test_both_commands_start(tmp_path: Path) -> None:
    for command in ("run_offline_command", "run_service_command"):
        program = f"import foldnorm, sys\nsys.argv[1:] = ['--help']\nfoldnorm.{command}()"
        result = run(program, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "usage" in result.stdout.lower()


def test_a_copy_without_its_packages_says_so(tmp_path: Path) -> None:
    shutil.copy(ROOT / "foldnorm.py", tmp_path)
    # -S: no site-packages, and so no installed Foldnorm either.
    result = run(f"import foldnorm\n{LOAD}", tmp_path, "-S", path=tmp_path)
    assert "cannot be imported; install Foldnorm again" in result.stderr


def test_the_image_is_built_from_files_that_docker_is_sent() -> None:
    copies = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    sources = {source.split("/")[0] for copy in copies for source in copy.split()}
    sent = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    assert "foldnorm.py" in sources
    assert sources <= sent
