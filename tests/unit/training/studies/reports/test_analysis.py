"""The analysis and its pages: what was announced is carried out, and what is missing is said."""

import math
import re
from dataclasses import replace

import pytest
import torch

from tests import study_rows
from training.errors import StudyError
from training.studies.design import available_studies, load_study
from training.studies.plan import design_hash, registered_design
from training.studies.reports.analysis import analyse
from training.studies.reports.claim_results import claim_result
from training.studies.reports.claims_page import claims_page
from training.studies.reports.plain_words import plain_words
from training.studies.reports.registration import changes, registration
from training.studies.reports.study_page import study_page
from training.studies.statistics.verdicts import Standing, Verdict

CPU = torch.device("cpu")
NEVER = [
    f"{name}_{threshold}"
    for name in ("epochs_to", "first_epoch_at")
    for threshold in load_study("reference").thresholds
]


def rows_of(study, value_of, *, spread=0.001, **measures):
    """Return rows whose measures are functions of the levels, each seed `spread` above the last."""
    functions = {study.primary: value_of, **measures}

    def measures_of(levels, seed):
        return {name: of(levels) + spread * seed for name, of in functions.items()}

    return study_rows.rows_of(study, measures_of)


def additive(levels):
    """Return an accuracy to which each of the four changes adds on its own."""
    gains = {"hidden": 0.10, "logits": 0.12, "off": 0.03, "high": 0.05}
    return 0.5 + sum(gains.get(level, 0) for level in levels.values())


@pytest.fixture
def which():
    study = load_study("which-change")
    rows = rows_of(study, additive, test_accuracy_last=additive)
    return analyse(study, "cpu", rows, [])


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
                    **dict.fromkeys(NEVER, math.inf),
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
    page = claims_page(analyses, {})
    assert all(name in page for name in available_studies())
    count = sum(len(analysis.claims) for analysis in analyses)
    assert f"{count} claims: {count} not measured. 0 runs" in page


def test_the_page_of_claims_puts_first_what_failed(which):
    page = claims_page([which], {})
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
    registered = {
        "sha256": "0" * 64,
        "registered": "2026-01-01T00:00:00+00:00",
        "design": {**design, "runs": []},
    }
    page = study_page(which, ["cells"], registration(registered, design, which.rows))
    assert page.count("| `") == 36
    assert "registered before the first run, changed since" in page
    assert "- `runs`: [], now [" in page
    assert "![cells](cells.svg)" in page
    assert which.study.presets["cpu"].note in page


def test_changes_name_each_value_by_its_key():
    before = {"study": {"smallest": 0.01, "contrasts": [{"name": "a"}]}}
    after = {"study": {"smallest": 0.02, "contrasts": [{"name": "a"}, {"name": "b"}]}}
    assert changes(before, after) == [
        "`study.contrasts[b].name`: absent, now 'b'",
        "`study.smallest`: 0.01, now 0.02",
    ]


def test_runs_without_any_spread_decide_nothing():
    study = load_study("which-change")
    stuck = [replace(row, measures={study.primary: 0.1}) for row in rows_of(study, additive)]
    analysis = analyse(study, "cpu", stuck, [])
    assert {one.verdict for one in analysis.contrasts} == {Verdict.UNDECIDED}
    assert Standing.REPRODUCED not in {one.standing for one in analysis.claims}


def smooth(*, batch, plain):
    """Return rows of `inside` whose effective smoothness with batch norm and without is given."""
    return rows_of(
        load_study("inside"),
        additive,
        spread=0.01,
        late_effective_smoothness=lambda levels: batch if levels["norm"] == "hidden" else plain,
        late_gradient_change=lambda levels: 0.1 if levels["norm"] == "hidden" else 0.5,
    )


def test_a_diverged_run_leaves_undecided_what_has_no_score_of_chance():
    study, rows = load_study("inside"), smooth(batch=2.0, plain=30.0)
    assert {one.verdict for one in analyse(study, "cpu", rows, []).contrasts} == {Verdict.SUPPORTED}
    lost = [
        replace(row, status="diverged", measures={study.primary: 0.1})
        if row.seed == 0 and row.levels == {"norm": "none", "rate": "high"}
        else row
        for row in rows
    ]
    analysis = analyse(study, "cpu", lost, [])
    assert {one.verdict for one in analysis.contrasts} == {Verdict.UNDECIDED}


def test_the_smallest_effect_of_another_unit_is_a_share_of_what_is_compared():
    rows = smooth(batch=29.9, plain=30.0)
    smoothness, _ = analyse(load_study("inside"), "cpu", rows, []).contrasts
    assert smoothness.smallest == pytest.approx(3, rel=1e-2)
    assert smoothness.verdict is Verdict.PRACTICALLY_EQUAL


def test_a_diverged_run_does_not_shorten_what_the_others_were_watched_for():
    analysis = reference(bn={"epochs_to_0.75": 6.0})
    rows = [
        replace(
            row, status="diverged", epochs=1, measures={**row.measures, "epochs_to_0.75": math.inf}
        )
        if row.levels["network"] == "bn" and row.seed == 0
        else row
        for row in analysis.rows
    ]
    analysis = analyse(analysis.study, "cpu", rows, [])
    (at_75,) = [one for one in analysis.crossings if one.threshold == 0.75]
    assert "bn: 2 of 3 within 15" in at_75.sentences[1]
    claims = {one.design.text: one for one in analysis.claims}
    assert (
        "after 15 of the 50"
        in claims["The BN model reaches 87 % (the highest of all epochs)"].result
    )


def test_holms_family_is_the_announced_one_measured_or_not():
    study = load_study("which-change")
    rows = [row for row in rows_of(study, additive) if row.levels["norm"] != "logits"]
    found = analyse(study, "cpu", rows, []).contrasts
    assert len([one for one in found if one.estimate is None]) == 1
    smallest = min(one.estimate.p for one in found if one.estimate)
    assert min(one.holm_p for one in found if one.holm_p is not None) == pytest.approx(7 * smallest)


def test_one_run_in_time_is_no_reproduction():
    text = "The BN model reaches 79 % in only 7 epochs"
    analysis = reference(bn={"first_epoch_at_0.79": 7.0})
    rows = [row for row in analysis.rows if row.seed == 0]
    claims = {one.design.text: one for one in analyse(analysis.study, "cpu", rows, []).claims}
    assert claims[text].standing is Standing.UNDECIDED


def test_a_threshold_newer_than_the_rows_is_an_error_and_no_failure_to_arrive():
    analysis = reference()
    rows = [
        replace(row, measures={k: v for k, v in row.measures.items() if not k.startswith("epochs")})
        for row in analysis.rows
    ]
    with pytest.raises(StudyError, match=r"has no epochs_to_0\.65: the threshold is newer"):
        analyse(analysis.study, "cpu", rows, [])


def test_an_advantage_of_what_does_not_train_reproduces_nothing():
    study = load_study("learning-rate")

    def hardly(levels):
        return 0.2 if levels["norm"] == "hidden" else 0.1

    analysis = analyse(study, "cpu", rows_of(study, hardly), [])
    claims = {one.design.text: one for one in analysis.claims}
    claim = claims["Much higher learning rates can be used with batch norm"]
    assert claim.standing is Standing.NOT_REPRODUCED
    assert "10.00" in claim.result


def test_a_registration_after_runs_had_begun_is_said(which):
    design = registered_design(which.study, "cpu", CPU)
    entry = {"sha256": design_hash(design), "design": design}
    before = registration({**entry, "registered": "2026-01-01T00:00:00+00:00"}, design, which.rows)
    after = registration({**entry, "registered": "2026-01-03T00:00:00+00:00"}, design, which.rows)
    assert before.words == "before the first run"
    assert after.words == "after 36 of 36 runs had begun"
    assert registration(None, design, which.rows) is None


def test_what_cannot_be_decided_reproduces_no_claim_whatever_it_predicts(which):
    study = which.study
    lost = [replace(one, decidable=False) for one in which.contrasts]
    for design in (claim for claim in study.claims if claim.contrast and not claim.mean):
        found = {
            claim_result(replace(design, predicted=sign, epochs=4), lost, which.rows).standing
            for sign in ("+", "-", "=", ">=")
        }
        assert found == {Standing.UNDECIDED}
