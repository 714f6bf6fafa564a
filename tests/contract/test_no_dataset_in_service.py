"""No module of the service knows CIFAR-10: its image size, its number of classes or its labels.

Nor does it know a shipped artifact by name. The manifest says all that. Looked at are constants and
the text of docstrings and comments alike.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from models.bundle import load_catalogue
from training.data.cifar10 import LABELS

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = {bundle.name for bundle in load_catalogue(ROOT / "models" / "artifacts")}
SIDE, CLASSES = 32, len(LABELS)
# As a shape is written: "32, 32", "32 by 32", "(N, 32", "[N, 10]", and the bytes of one image.
SHAPE = re.compile(
    rf"\b{SIDE}(?:\s*(?:,|x|×|by)\s*){SIDE}\b|N,\s*(?:{SIDE}|{CLASSES})\b|\b{SIDE * SIDE * 3}\b"
)
NAMED = re.compile(r"CIFAR", re.IGNORECASE)
SIZE_NAMES = re.compile(r"side|size|height|width|class|label|image_shape|pixels", re.IGNORECASE)


def violations(source: str) -> list[str]:
    """Return what in a module's source speaks of the dataset."""
    found = [match[0] for pattern in (SHAPE, NAMED) for match in pattern.finditer(source)]
    found += [name for name in sorted(ARTIFACTS) if name in source]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in LABELS:
            found.append(str(node.value))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = " ".join(ast.unparse(target) for target in node.targets)
            if node.value.value in (SIDE, CLASSES) and SIZE_NAMES.search(names):
                found.append(ast.unparse(node))
    return found


def test_no_module_of_the_service_knows_the_dataset() -> None:
    files = sorted((ROOT / "service").rglob("*.py"))
    assert len(files) > 50
    found = {str(file.relative_to(ROOT)): violations(file.read_text("utf-8")) for file in files}
    assert {name: what for name, what in found.items() if what} == {}


def test_what_would_know_it_is_seen() -> None:
    for source in (
        "SIDE = 32",
        "CLASSES = 10",
        "shape = (N, 32, 32, 3)",
        "# logits (N, 10)",
        "IMAGE_BYTES = 3072",
        "example = 'frog'",
        "# an image of 32 by 32",
        "# classifies CIFAR-10 images",
        "PREFERRED = 'keras-bn'",
    ):
        assert violations(source), source
    assert violations("KEPT = 32\nROUNDS = 10\nname = 'a frog pond'") == []
