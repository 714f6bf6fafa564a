"""The pages of the studies are what their committed rows say, and nothing else."""

from pathlib import Path

import pytest
import torch

from training.studies.conduct import StudyFolder
from training.studies.design import available_studies, load_study
from training.studies.plan import plan_study, registered_design
from training.studies.reports.analysis import analyse
from training.studies.reports.claims_page import claims_page
from training.studies.reports.figures import draw
from training.studies.reports.registration import registration
from training.studies.reports.study_page import study_page
from training.studies.runs import RunFolders

DOCS = Path(__file__).parents[2] / "docs"
WITH_ROWS = sorted(path.parent.name for path in DOCS.glob("studies/*/rows.csv"))


def analysis_of(name):
    folder = StudyFolder(load_study(name), DOCS / "studies" / name, RunFolders(Path("none")))
    analysis = analyse(folder.study, "cpu", folder.rows(), folder.curves())
    design = registered_design(folder.study, "cpu", torch.device("cpu"))
    return folder, analysis, registration(folder.registrations().get("cpu"), design, analysis.rows)


def test_the_page_of_claims_is_that_of_the_rows():
    found = [analysis_of(name) for name in available_studies()]
    page = claims_page(
        [analysis for _, analysis, _ in found],
        {folder.study.name: registered for folder, _, registered in found},
    )
    assert (DOCS / "claims.md").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("name", WITH_ROWS)
def test_a_studys_page_is_that_of_its_rows(name):
    folder, analysis, registered = analysis_of(name)
    page = study_page(analysis, list(draw(analysis)), registered)
    assert (folder.path / "report.md").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("name", WITH_ROWS)
def test_every_figure_that_a_page_shows_is_committed(name):
    folder, analysis, _ = analysis_of(name)
    assert {path.stem for path in folder.path.glob("*.svg")} == set(draw(analysis))


@pytest.mark.parametrize("name", WITH_ROWS)
def test_every_committed_row_is_a_run_of_its_study(name):
    folder, _, _ = analysis_of(name)
    planned = {run.identity for run in plan_study(folder.study, "cpu", torch.device("cpu"))}
    assert {row.run for row in folder.rows()} <= planned
    assert {point.run for point in folder.curves()} == {row.run for row in folder.rows()}
