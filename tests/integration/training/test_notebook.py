"""The notebook for a classroom runs from its first cell to its last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[3]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_of_a_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    written = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert len(written) >= 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_what_it_printed_and_its_figures_are_there(path):
    notebook = nbformat.read(path, as_version=4)
    printed = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert len(printed) >= 5
    assert {output.output_type for output in printed} == {"stream"}
    linked = [
        word.split("](")[1].split(")")[0]
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for word in cell.source.split("\n")
        if word.startswith("![")
    ]
    assert linked
    assert all((path.parent / name).exists() for name in linked)
