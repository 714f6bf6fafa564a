"""The algebra of folding against what batch norm is defined to do."""

import numpy as np
import pytest

from training.folding.algebra import BatchNormStats, FoldRefused, fold_linear_map, fold_scale

CHANNELS, INPUTS = 5, 7


def random_stats(seed=0, eps=1e-3):
    generator = np.random.default_rng(seed)
    return BatchNormStats(
        gamma=generator.uniform(-2, 2, CHANNELS),
        beta=generator.normal(size=CHANNELS),
        running_mean=generator.normal(size=CHANNELS),
        running_var=np.geomspace(eps / 10, 10, CHANNELS),  # the first channels are near eps
        eps=eps,
    )


def normalize(y, stats):
    centred = y - stats.running_mean
    return centred / np.sqrt(stats.running_var + stats.eps) * stats.gamma + stats.beta


def linear_map(seed=1):
    generator = np.random.default_rng(seed)
    return (
        generator.normal(size=(CHANNELS, INPUTS)),
        generator.normal(size=CHANNELS),
        generator.normal(size=(100, INPUTS)),
    )


# A sum of 7 products of numbers near 1, rounded in float64: 1e-15 each, scaled by at most 60.
TOLERANCE = 1e-12


def test_the_folded_map_equals_the_map_followed_by_batch_norm():
    weight, bias, x = linear_map()
    stats = random_stats()
    folded_weight, folded_bias = fold_linear_map(weight, bias, stats)
    expected = normalize(x @ weight.T + bias, stats)
    assert np.abs(x @ folded_weight.T + folded_bias - expected).max() < TOLERANCE


def test_a_map_without_bias_gets_the_shift_as_bias():
    weight, _, x = linear_map()
    stats = random_stats()
    folded_weight, folded_bias = fold_linear_map(weight, None, stats)
    expected = normalize(x @ weight.T, stats)
    assert np.abs(x @ folded_weight.T + folded_bias - expected).max() < TOLERANCE


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda w, b, s: (w, b, {"beta": 0 * s.beta}), id="beta dropped"),
        pytest.param(lambda w, b, s: (w, b, {"eps": 0.0}), id="eps omitted"),
        pytest.param(lambda w, b, s: (w, 0 * b, {}), id="bias of the layer dropped"),
        pytest.param(lambda w, b, s: (w, b, {"running_mean": 0 * s.running_mean}), id="no mean"),
        pytest.param(lambda w, b, s: (w, b, {"gamma": s.gamma * [1.01, 1, 1, 1, 1]}), id="1 %"),
    ],
)
def test_the_tolerance_notices_a_fault(fault):
    weight, bias, x = linear_map()
    stats = random_stats()
    wrong_weight, wrong_bias, changes = fault(weight, bias, stats)
    wrong = BatchNormStats(**{**vars(stats), **changes})
    folded_weight, folded_bias = fold_linear_map(wrong_weight, wrong_bias, wrong)
    expected = normalize(x @ weight.T + bias, stats)
    assert np.abs(x @ folded_weight.T + folded_bias - expected).max() > 1000 * TOLERANCE


def test_the_output_channels_may_lie_on_another_axis():
    weight, bias, _ = linear_map()
    stats = random_stats()
    along_rows, _ = fold_linear_map(weight, bias, stats)
    along_columns, _ = fold_linear_map(weight.T, bias, stats, channel_axis=1)
    assert (along_columns == along_rows.T).all()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("running_var", np.nan, "running_var is not finite in channel 2"),
        ("running_mean", np.inf, "running_mean is not finite in channel 2"),
        ("gamma", -np.inf, "gamma is not finite in channel 2"),
        ("running_var", -0.5, "running_var is -0.5 in channel 2"),
    ],
)
def test_a_broken_statistic_is_refused_with_its_channel(field, value, reason):
    stats = random_stats()
    getattr(stats, field)[2] = value
    with pytest.raises(FoldRefused, match=reason):
        fold_scale(stats)


def test_a_zero_variance_without_eps_is_refused():
    stats = random_stats()
    broken = BatchNormStats(**{**vars(stats), "running_var": np.zeros(CHANNELS), "eps": 0.0})
    with pytest.raises(FoldRefused, match="infinite"):
        fold_scale(broken)


def test_differing_channel_counts_are_refused():
    with pytest.raises(FoldRefused, match="3 output channels, the batch norm 5"):
        fold_linear_map(np.ones((3, 2)), None, random_stats())
