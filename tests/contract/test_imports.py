"""The directions of DESIGN: what serving loads, and who imports whom, inside functions too."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OFFLINE_ONLY = {"torch", "onnx", "onnxscript", "onnx_ir", "training", "matplotlib", "scipy"}


def loaded_modules(module: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after importing one."""
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def imported_modules(source: str) -> set[str]:
    """Every module that a source text imports, wherever the statement stands."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imports_of(package: str) -> dict[str, set[str]]:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths, f"{package} has no modules"
    return {
        str(path.relative_to(ROOT)): imported_modules(path.read_text(encoding="utf-8"))
        for path in paths
    }


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("module", ["service.app", "service.__main__"])
def test_serving_loads_nothing_of_the_offline_side(module: str) -> None:
    assert set() == loaded_modules(module) & OFFLINE_ONLY


def test_the_artifact_contract_loads_neither_torch_nor_onnx() -> None:
    assert set() == loaded_modules("models.bundle") & (OFFLINE_ONLY | {"onnxruntime", "service"})


def test_no_function_of_the_service_imports_the_offline_side() -> None:
    for path, names in imports_of("service").items():
        assert set() == roots(names) & OFFLINE_ONLY, path
        assert not any(name.startswith("models.networks") for name in names), path


def test_no_function_of_training_imports_the_service() -> None:
    for path, names in imports_of("training").items():
        assert "service" not in roots(names), path


def test_no_function_of_models_imports_a_consumer() -> None:
    for path, names in imports_of("models").items():
        assert set() == roots(names) & {"service", "training"}, path


def test_an_import_inside_a_function_would_be_seen() -> None:
    source = "def f():\n    from training.trainer.loop import train\n    import torch.nn\n"
    assert {"training", "torch"} == roots(imported_modules(source))
