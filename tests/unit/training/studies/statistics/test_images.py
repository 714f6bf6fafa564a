"""Differences on the same images against scipy, statsmodels and simulated truth."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from training.studies.statistics.images import image_difference, pair_test, seed_variance


def answers(seeds, images, seed=0, rate=0.8):
    return np.random.default_rng(seed).random((seeds, images)) < rate


def test_the_error_on_these_images_is_that_of_the_mean_over_seeds():
    a, b = answers(4, 50, 1, 0.6), answers(4, 50, 2)
    found = image_difference(a, b)
    by_seed = b.mean(axis=1) - a.mean(axis=1)
    assert found.value == pytest.approx(by_seed.mean())
    assert found.error_on_these_images == pytest.approx(stats.sem(by_seed))
    assert (found.seeds, found.images) == (4, 50)


def test_the_components_are_the_mean_squares_of_a_two_way_analysis_of_variance():
    a, b = answers(3, 8, 1, 0.6), answers(3, 8, 2)
    seed, image = np.indices(a.shape)
    table = {"d": (b.astype(float) - a).ravel(), "seed": seed.ravel(), "image": image.ravel()}
    rows = anova_lm(ols("d ~ C(seed) + C(image)", pd.DataFrame(table)).fit())
    mean_square = rows["mean_sq"]
    found = image_difference(a, b)
    assert (found.v_seed, found.v_image, found.v_rest) == pytest.approx(
        tuple(mean_square[["C(seed)", "C(image)", "Residual"]] / 24)
    )


def test_the_error_on_new_images_is_the_spread_of_studies_with_new_images():
    random = np.random.default_rng(4)

    def study():
        image = random.normal(0, 1.5, 200)  # how much b is better at it
        seed = random.normal(0, 0.3, (5, 1))
        a = random.normal(size=(5, 200)) < 0.5
        b = random.normal(size=(5, 200)) < 0.8 + image + seed
        return image_difference(a, b)

    found = [study() for _ in range(400)]
    truth = np.var([one.value for one in found])
    told = np.mean([one.error_on_new_images**2 for one in found])
    these = np.mean([one.error_on_these_images**2 for one in found])
    # 400 studies know a variance to 7 %; that of these images alone is less than three quarters.
    assert told == pytest.approx(truth, rel=0.2)
    assert these < 0.75 * truth


def test_arms_that_answer_alike_differ_by_nothing():
    a = answers(3, 20)
    found = image_difference(a, a)
    assert (found.value, found.error_on_these_images, found.error_on_new_images) == (0, 0, 0)


def test_images_that_every_seed_tells_apart_alike_leave_no_rest():
    b = np.tile(np.arange(10) < 3, (4, 1))
    found = image_difference(np.zeros((4, 10), dtype=bool), b)
    assert (found.v_seed, found.v_rest) == pytest.approx((0, 0))
    assert found.error_on_new_images == pytest.approx(stats.sem(b[0]))


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (9,)])
def test_a_single_seed_or_image_has_no_components(shape):
    with pytest.raises(ValueError, match="at least two of each"):
        image_difference(np.ones(shape, dtype=bool), np.ones(shape, dtype=bool))
    with pytest.raises(ValueError, match="at least two of each"):
        seed_variance(np.ones(shape, dtype=bool))


def test_arms_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        image_difference(answers(3, 9), answers(3, 8))
    with pytest.raises(ValueError, match="two of"):
        pair_test(answers(3, 9), answers(3, 9))


def test_mcnemar_is_a_coin_thrown_for_each_image_that_one_alone_has_right():
    a = np.array([True] * 10 + [False] * 10 + [True] * 5)
    b = np.array([True] * 7 + [False] * 3 + [True] * 9 + [False] + [True] * 5)
    found = pair_test(a, b)
    assert (found.only_a, found.only_b) == (3, 9)
    assert found.p == pytest.approx(stats.binomtest(3, 12).pvalue)


def test_two_networks_that_agree_or_err_equally_often_have_p_1():
    a = answers(1, 30)[0]
    assert pair_test(a, a).p == 1.0
    assert pair_test(np.array([True, False]), np.array([False, True])).p == 1.0


def test_answers_that_are_independent_from_image_to_image_have_no_instability():
    difficulty = np.random.default_rng(1).random(500)
    right = np.random.default_rng(2).random((400, 500)) < difficulty
    found = seed_variance(right)
    assert found.total == pytest.approx(np.var(right.mean(axis=1), ddof=1))
    # 400 runs know the variance to 7 %.
    assert found.by_images == pytest.approx((difficulty * (1 - difficulty)).sum() / 500**2, rel=0.1)
    assert abs(found.instability) < 0.25 * found.total


def test_seeds_that_are_better_everywhere_have_the_instability_put_in():
    random = np.random.default_rng(3)
    skill = random.normal(0.7, 0.05, (2_000, 1))
    found = seed_variance(random.random((2_000, 300)) < skill)
    # 2,000 runs know a variance to 3 %, and that of the images is a quarter of it.
    assert found.instability == pytest.approx(0.05**2, rel=0.15)
    assert found.total > 1.15 * found.instability


def test_the_split_is_jordans_formula_in_a_case_by_hand():
    right = np.array([[True, True, True], [True, False, False]])
    # Accuracies 1 and 1/3: variance 2/9. Shares 1, 1/2, 1/2: sum of p (1 - p) is 1/2, times 2 / 9.
    found = seed_variance(right)
    assert found.total == pytest.approx(2 / 9)
    assert found.by_images == pytest.approx(1 / 9)
    assert found.instability == pytest.approx(3 / 2 * (2 / 9 - 1 / 9))
