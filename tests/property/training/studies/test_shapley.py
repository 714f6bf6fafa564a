"""Shares add up to the gap, whatever the switches, their order constraints and the means."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.studies.statistics.contrasts import contrast
from training.studies.statistics.shapley import Switch, attribute


@st.composite
def designs(draw):
    """Draw a start cell with one to three factors and the switches of each, in a chain."""
    switches, start = [], {}
    for factor in draw(st.sets(st.sampled_from("abc"), min_size=1)):
        start[factor] = "0"
        for level in range(1, draw(st.integers(1, 2)) + 1):
            after = (f"{factor}{level - 1}",) if level > 1 else ()
            switches.append(Switch(f"{factor}{level}", factor, str(level), after))
    if len(switches) > 1 and draw(st.booleans()):
        first, last = switches[0], switches[-1]
        switches[-1] = Switch(last.name, last.factor, last.level, (*last.after, first.name))
    return start, draw(st.permutations(switches))


@settings(derandomize=True, deadline=None, max_examples=40)
@given(designs())
def test_the_weights_add_up_to_end_minus_start_exactly(design):
    found = attribute(*design)
    total = {cell: sum(share.exact.get(cell, 0) for share in found.shares) for cell in found.cells}
    assert {cell: weight for cell, weight in total.items() if weight} == {
        found.end: 1,
        found.start: -1,
    }
    assert all(sum(share.exact.values()) == 0 for share in found.shares)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(designs(), st.data())
def test_every_order_and_their_mean_close_the_gap(design, data):
    found = attribute(*design)
    accuracies = st.lists(st.floats(0, 1), min_size=2, max_size=4)
    runs = {cell: data.draw(accuracies) for cell in found.cells}
    means = {cell: math.fsum(values) / len(values) for cell, values in runs.items()}
    gap = means[found.end] - means[found.start]
    orders = zip(*(share.increments(means) for share in found.shares), strict=True)
    # At most six steps or twelve cells of values up to 1, each rounded to 1e-16.
    assert [math.fsum(order) for order in orders] == pytest.approx(
        [gap] * len(found.orders), abs=1e-14
    )
    shares = [contrast(runs, share.weights).value for share in found.shares]
    assert math.fsum(shares) == pytest.approx(gap, abs=1e-14)
    spreads = [share.increments(means) for share in found.shares]
    assert [math.fsum(spread) / len(spread) for spread in spreads] == pytest.approx(
        shares, abs=1e-14
    )
