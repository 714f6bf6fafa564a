"""The analysis and its pages: what was announced is carried out, and what is missing is said."""

import re
from dataclasses import replace

import pytest
import torch

from training.studies.design import available_studies, load_study
from training.studies.plan import registered_design
from training.studies.reports.analysis import analyse
from training.studies.reports.claims_page import claims_page
from training.studies.reports.plain_words import plain_words
from training.studies.reports.registration import changes
from training.studies.reports.study_page import study_page
from training.studies.rows import Row
from training.studies.statistics.verdicts import Standing, Verdict

CPU = torch.device("cpu")
MADE = {"precision": "float32", "device": "here", "torch": "2", "started": "now"}


def rows_of(study, value_of, *, seeds=(0, 1, 2), epochs=4, measure=None, **measures):
    return [
        Row(
            study=study.name,
            run=f"{index}-{seed}",
            seed=seed,
            preset="cpu",
            levels=dict(cell),
            status="done",
            epochs=epochs,
            made=MADE,
            measures={
                measure or study.primary: value_of(dict(cell)) + 0.001 * seed,
                **{name: of(dict(cell)) for name, of in measures.items()},
            },
        )
        for index, cell in enumerate(study.cells())
        for seed in seeds
    ]


def additive(levels):
    """Return an accuracy to which each of the four changes adds on its own."""
    gains = {"hidden": 0.10, "logits": 0.12, "off": 0.03, "high": 0.05}
    return 0.5 + sum(gains.get(level, 0) for level in levels.values())


@pytest.fixture
def which():
    study = load_study("which-change")
    return analyse(study, "cpu", rows_of(study, additive), [])


def test_contrasts_are_differences_of_cell_means_with_a_verdict(which):
    found = {one.design.name: one for one in which.contrasts}
    plain = found["BN, low rate, dropout"]
    assert plain.estimate.value == pytest.approx(0.10)
    assert plain.verdict is Verdict.SUPPORTED
    assert found["BN x rate"].estimate.value == pytest.approx(0)
    assert found["BN x rate"].verdict is Verdict.PRACTICALLY_EQUAL
    assert found["ten times the rate without BN"].verdict is Verdict.CONTRADICTED
    assert all(one.holm_p is not None and one.holm_p >= one.estimate.p for one in which.contrasts)


def test_shares_add_up_to_the_gap_and_are_the_gains_where_nothing_interacts(which):
    shares = {one.switch: one.estimate.value for one in which.attribution.shares}
    assert shares == pytest.approx(
        {
            "BN on the hidden layers": 0.10,
            "BN on the logits": 0.02,
            "no dropout": 0.03,
            "ten times the rate": 0.05,
        }
    )
    assert all(
        max(one.by_order) == pytest.approx(min(one.by_order)) for one in which.attribution.shares
    )


def test_a_cell_without_runs_leaves_its_contrasts_unmeasured_and_the_others_alone():
    study = load_study("which-change")
    rows = [row for row in rows_of(study, additive) if row.levels["norm"] != "logits"]
    analysis = analyse(study, "cpu", rows, [])
    missing = [one.design.name for one in analysis.contrasts if one.estimate is None]
    assert missing == ["BN on the logits"]
    assert analysis.attribution is None
    assert len(analysis.cells) == 8


def test_a_diverged_run_stays_in_its_cell_as_chance():
    study = load_study("which-change")
    rows = rows_of(study, additive)
    lost = replace(rows[0], status="diverged", measures={study.primary: 0.1})
    analysis = analyse(study, "cpu", [lost, *rows[1:]], [])
    assert analysis.cells[0].summary.words == "2 of 3 trained"
    assert analysis.cells[0].summary.scores[0] == 0.1


def reference(**arrivals):
    study = load_study("reference")
    epochs = {"baseline": 30, "whole-pixels": 50, "bn": 15}
    rows = rows_of(study, lambda levels: 0.7 + 0.05 * (levels["network"] == "bn"))
    rows = [replace(row, epochs=epochs[row.levels["network"]]) for row in rows]
    return analyse(
        study,
        "cpu",
        [
            replace(
                row,
                measures={
                    **row.measures,
                    "test_accuracy_best": 0.8,
                    "test_accuracy_last": 0.78,
                    **arrivals.get(row.levels["network"], {}),
                },
            )
            for row in rows
        ],
        [],
    )


def test_a_network_that_never_arrives_gives_a_bound_and_no_ratio():
    analysis = reference(bn={"epochs_to_0.75": 6.0})
    (at_75,) = [one for one in analysis.crossings if one.threshold == 0.75]
    sentence = at_75.sentences[1]
    assert re.search(r"bn: 3 of 3", sentence)
    assert re.search(r"baseline: 0 of 3 within 30", sentence)
    assert "at least 5 times" in sentence


def test_claims_that_need_more_epochs_are_not_measured_by_fewer():
    claims = {one.design.text: one for one in reference().claims}
    best = claims["The BN model reaches 87 % (the highest of all epochs)"]
    assert best.standing is not Standing.REPRODUCED
    assert claims["The BN model reaches 79 % in only 7 epochs"].standing is Standing.NOT_REPRODUCED


def test_an_arrival_in_time_of_every_run_reproduces_the_claim_and_of_some_leaves_it_open():
    text = "The BN model reaches 79 % in only 7 epochs"
    for arrived, standing in (
        ({"first_epoch_at_0.79": 7.0}, Standing.REPRODUCED),
        ({}, Standing.NOT_REPRODUCED),
    ):
        claims = {one.design.text: one for one in reference(bn=arrived).claims}
        assert claims[text].standing is standing


def test_a_study_without_rows_has_claims_that_are_not_measured():
    analyses = [analyse(load_study(name), "cpu", [], []) for name in available_studies()]
    assert {one.standing for analysis in analyses for one in analysis.claims} == {
        Standing.NOT_MEASURED
    }
    page = claims_page(analyses)
    assert all(name in page for name in available_studies())
    count = sum(len(analysis.claims) for analysis in analyses)
    assert f"{count} claims: {count} not measured. 0 runs" in page


def test_the_page_of_claims_puts_first_what_failed(which):
    page = claims_page([which])
    assert "3 claims: 1 not reproduced, 1 practically equal, 1 not measured" in page
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Not reproduced",
        "## Practically equal",
        "## Not measured",
        "## The studies",
    ]
    failed = page[page.index("## Not reproduced") : page.index("## Practically equal")]
    assert "RMSprop with the rate 1e-3 does not train the baseline" in failed


def test_two_sentences_say_which_change_did_it_and_on_what_it_depends():
    def interacting(levels):
        """Return an accuracy to which the high rate adds 4 points with batch norm, and else -6."""
        normed = levels["norm"] != "none"
        rate = (0.04 if normed else -0.06) * (levels["rate"] == "high")
        return 0.6 + 0.10 * normed + rate + 0.01 * (levels["dropout"] == "off")

    study = load_study("which-change")
    said = plain_words(analyse(study, "cpu", rows_of(study, interacting), []).attribution)
    assert said == (
        "All changes together add 15.0 points to the accuracy: BN on the hidden layers adds 13.3, "
        "no dropout adds 1.0, ten times the rate adds 0.7 and BN on the logits adds 0.0, each to "
        "within about 0.1 points. What a change is worth depends on the others: ten times the rate "
        "takes 6.0 without BN on the hidden layers, and adds 4.0 with it."
    )


def test_the_page_has_every_run_every_interval_and_what_was_registered(which):
    design = registered_design(which.study, "cpu", CPU)
    registered = {"sha256": "0" * 64, "registered": "2026-01-01", "design": {**design, "runs": []}}
    page = study_page(which, ["cells"], registered, design)
    assert page.count("| `") == 36
    assert "Not as registered before the first run" in page
    assert "- `runs`: [], now [" in page
    assert "![cells](cells.svg)" in page
    assert which.study.presets["cpu"].note in page


def test_changes_name_each_value_by_its_key():
    before = {"study": {"smallest": 0.01, "contrasts": [{"name": "a"}]}}
    after = {"study": {"smallest": 0.02, "contrasts": [{"name": "a"}, {"name": "b"}]}}
    assert changes(before, after) == [
        "`study.contrasts[1].name`: absent, now 'b'",
        "`study.smallest`: 0.01, now 0.02",
    ]
