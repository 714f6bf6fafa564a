"""Commands are imported when they are asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.cli import commands
from training.cli.app import app
from training.cli.commands import EXTRAS, LazyCommands, MissingPackageError

ROOT = Path(__file__).resolve().parents[4]


def loaded_by(command):
    """The top-level modules that a fresh interpreter has after a command's help."""
    code = (
        "import sys\nfrom training.cli.app import app\n"
        f"app([{command!r}, '--help'], standalone_mode=False)\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split("LOADED ")[1].split())


@pytest.mark.parametrize("command", ["predict", "bench"])
def test_the_clients_commands_load_neither_torch_nor_onnx(command):
    unwanted = {"torch", "onnx", "onnxruntime", "matplotlib", "scipy", "service"}
    loaded = loaded_by(command)
    assert "aiohttp" in loaded
    assert loaded & unwanted == set()


def test_a_command_of_training_would_be_seen_to_load_torch():
    assert "torch" in loaded_by("train")


def test_every_command_has_a_module_and_the_other_way_round():
    folder = ROOT / "training" / "cli"
    modules = {path.stem for path in folder.glob("*.py")} - {
        "__init__",
        "app",
        "commands",
        "config_file",
        "entry",
    }
    assert set(EXTRAS) == modules
    assert list(LazyCommands({})) == list(EXTRAS)


@pytest.fixture
def without_torch(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named 'torch' for {name}", name="torch")

    monkeypatch.setattr(commands, "import_module", absent)


@pytest.mark.usefixtures("without_torch")
def test_a_command_whose_package_is_missing_says_what_to_install():
    result = CliRunner().invoke(app, ["train"])
    assert isinstance(result.exception, MissingPackageError)
    assert str(result.exception) == (
        "the command 'train' needs the package 'torch'; install it with: "
        "pip install 'foldnorm[train]'"
    )


@pytest.mark.usefixtures("without_torch")
def test_help_lists_it_nevertheless():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "Not installed: needs the extra 'train'." in result.stdout


def test_a_bug_in_our_own_imports_is_not_mistaken_for_a_missing_package(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="training.nonsense")

    monkeypatch.setattr(commands, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match=r"training\.cli\.train"):
        LazyCommands({})["train"]


def test_a_misspelt_command_is_answered_with_the_nearest():
    result = CliRunner().invoke(app, ["predct"])
    assert result.exit_code == 2
    assert "Did you mean 'predict'?" in result.stderr


def test_every_help_prints_where_there_is_only_ascii():
    code = (
        "import sys\nfrom training.cli.commands import EXTRAS\n"
        "from training.cli.entry import main\n"
        "for command in ([], *([name] for name in EXTRAS)):\n"
        "    sys.argv = ['foldnorm', *command, '--help']\n"
        "    try:\n        main()\n    except SystemExit as ended:\n        assert not ended.code"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert result.stdout.isascii()
    assert result.stdout.count(b"Usage") == len(EXTRAS) + 1
