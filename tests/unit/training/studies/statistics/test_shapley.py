"""Shares of a gap, by hand."""

from fractions import Fraction

import pytest

from training.studies.statistics.cells import cell_of
from training.studies.statistics.contrasts import contrast
from training.studies.statistics.shapley import Switch, attribute

START = {"norm": "none", "dropout": "on", "rate": "low"}
DROPOUT = Switch("dropout", "dropout", "off")
RATE = Switch("rate", "rate", "high")
HIDDEN = Switch("BN on hidden layers", "norm", "hidden")
LOGITS = Switch("BN on logits", "norm", "logits", after=("BN on hidden layers",))


def cell(norm, dropout):
    return cell_of({"norm": norm, "dropout": dropout})


def test_two_switches_share_their_interaction_equally():
    found = attribute({"norm": "none", "dropout": "on"}, [HIDDEN, DROPOUT])
    half = Fraction(1, 2)
    assert found.shares[0].exact == {
        cell("hidden", "on"): half,
        cell("none", "on"): -half,
        cell("hidden", "off"): half,
        cell("none", "off"): -half,
    }
    means = {
        cell("none", "on"): 0.0,
        cell("hidden", "on"): 1.0,
        cell("none", "off"): 3.0,
        cell("hidden", "off"): 10.0,
    }
    by_order = dict(zip(found.orders, found.shares[0].increments(means), strict=True))
    first, second = ("BN on hidden layers", "dropout"), ("dropout", "BN on hidden layers")
    assert by_order == {first: 1.0, second: 7.0}  # a share of 4, and of 6 for dropout
    assert sum(w * means[c] for c, w in found.shares[0].weights.items()) == 4.0
    assert sum(w * means[c] for c, w in found.shares[1].weights.items()) == 6.0


def test_four_switches_of_which_one_waits_have_twelve_orders_and_twelve_cells():
    found = attribute(START, [DROPOUT, RATE, HIDDEN, LOGITS])
    assert len(found.orders) == 12
    assert len(found.cells) == 12
    assert (found.start, found.end) == (
        cell_of(START),
        cell_of({"norm": "logits", "dropout": "off", "rate": "high"}),
    )
    assert all(
        order.index("BN on hidden layers") < order.index("BN on logits") for order in found.orders
    )


def test_without_the_constraint_there_would_be_twice_as_many_orders_and_no_common_end():
    with pytest.raises(ValueError, match="the end depends on the order"):
        attribute(START, [DROPOUT, RATE, HIDDEN, Switch("BN on logits", "norm", "logits")])


def test_the_shares_add_up_to_the_gap_exactly():
    found = attribute(START, [DROPOUT, RATE, HIDDEN, LOGITS])
    total = {cell: sum(share.exact.get(cell, 0) for share in found.shares) for cell in found.cells}
    assert {cell: weight for cell, weight in total.items() if weight} == {
        found.end: 1,
        found.start: -1,
    }


def test_a_share_is_a_contrast_with_an_interval():
    found = attribute({"norm": "none", "dropout": "on"}, [HIDDEN, DROPOUT])
    runs = {cell: [0.1 * i, 0.1 * i + 0.02, 0.1 * i + 0.01] for i, cell in enumerate(found.cells)}
    shares = [contrast(runs, share.weights) for share in found.shares]
    gap = contrast(runs, {found.end: 1, found.start: -1})
    assert sum(share.value for share in shares) == pytest.approx(gap.value)
    assert all(share.has_interval for share in shares)


def test_one_switch_has_the_whole_gap():
    found = attribute({"norm": "none"}, [HIDDEN])
    assert found.shares[0].exact == {found.end: 1, found.start: -1}


@pytest.mark.parametrize(
    ("switches", "reason"),
    [
        ([], "there are 0 switches"),
        ([DROPOUT, DROPOUT], "same name"),
        ([Switch("width", "width", "64")], "which is no factor"),
        ([LOGITS], "which is no switch"),
        ([Switch("dropout", "dropout", "on")], "changes nothing"),
        (
            [
                Switch("a", "norm", "hidden", after=("b",)),
                Switch("b", "rate", "high", after=("a",)),
            ],
            "wait for each other",
        ),
    ],
)
def test_switches_that_lead_nowhere_are_refused(switches, reason):
    with pytest.raises(ValueError, match=reason):
        attribute(START, switches)
