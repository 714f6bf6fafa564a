"""Commits side by side: each in a worktree of its own, started as a user starts it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rig.server import ROOT, Server
from benchmarks.serving_answers import answers
from benchmarks.trials.bench import PREDICT

if TYPE_CHECKING:
    from collections.abc import Iterator

MEASURED = ("service", "training")  # whose lines are counted


@dataclass(frozen=True)
class Tree:
    """A checkout of one commit."""

    folder: Path
    commit: str


@contextmanager
def checked_out(*references: str) -> Iterator[list[Tree]]:
    """Check commits out into a temporary folder, which goes with them afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        trees = []
        try:
            for index, reference in enumerate(references):
                place = Path(folder) / str(index)
                _git("worktree", "add", "--quiet", "--detach", str(place), reference)
                trees.append(Tree(place, _git("rev-parse", f"{reference}^{{commit}}").strip()))
            yield trees
        finally:
            for tree in trees:
                _git("worktree", "remove", "--force", str(tree.folder))


def changed_lines(base: Tree, variant: Tree) -> dict[str, int]:
    """Return how many lines of the product the variant takes away and brings."""
    table = _git("diff", "--numstat", base.commit, variant.commit, "--", *MEASURED)
    rows = [line.split("\t") for line in table.splitlines()]
    return {
        "taken_away": sum(int(row[1]) for row in rows),
        "brought": sum(int(row[0]) for row in rows),
    }


@contextmanager
def served(tree: Tree, *arguments: str, **environment: str) -> Iterator[tuple[Server, float]]:
    """Start a tree's server with two workers; hand it over, with its cold start, when all are up.

    `-P` keeps the folder that this runs in from being imported instead.
    """
    command = (sys.executable, "-P", "-m", "service", "--port", "{port}", "--workers", "2")
    variables = {"PYTHONPATH": str(tree.folder), **environment}
    with Server((*command, *arguments), variables) as server:
        cold_start_s = server.wait_for_answer(lambda: answers(server, PREDICT))
        server.wait_until_quiet()
        yield server, cold_start_s


def _git(*words: str) -> str:
    command = ("git", *words)
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return run.stdout
