from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from service.api.v1.predictions import comparisons, js_divergence, predictions
from service.inference.session import Scores

LABELS = ("cat", "dog", "frog")


def scores(*logits: list[float]) -> Scores:
    array = np.array(logits, np.float32)
    exponents = np.exp(array - array.max(axis=1, keepdims=True))
    return Scores(array, exponents / exponents.sum(axis=1, keepdims=True))


def test_labels_come_best_first() -> None:
    (answer,) = predictions(scores([0.0, 2.0, 1.0]), LABELS, 3)
    assert [label.label for label in answer.top] == ["dog", "frog", "cat"]
    assert (answer.index, answer.label) == (1, "dog")
    assert answer.probability == answer.top[0].probability


def test_no_more_labels_come_than_were_asked_for() -> None:
    answers = predictions(scores([0.0, 2.0, 1.0], [3.0, 2.0, 1.0]), LABELS, 1)
    assert [[label.label for label in answer.top] for answer in answers] == [["dog"], ["cat"]]


def test_logits_decide_where_probabilities_round_to_the_same() -> None:
    tied = Scores(np.array([[50, 200, 201]], np.float32), np.array([[0, 1, 1]], np.float32))
    assert predictions(tied, LABELS, 1)[0].index == 2


def test_the_same_answer_twice_is_no_divergence() -> None:
    (one,) = comparisons([scores([1.0, 2.0, 3.0])] * 2, alike=True)
    assert (one.agree, one.js_divergence, one.max_logit_difference) == (True, 0.0, 0.0)


def test_opposite_answers_diverge_by_one_bit() -> None:
    (one,) = comparisons([scores([200.0, 0.0, 0.0]), scores([0.0, 200.0, 0.0])], alike=True)
    assert (one.agree, one.js_divergence, one.max_logit_difference) == (False, 1.0, 200.0)


def test_the_largest_difference_is_between_any_two_models() -> None:
    (one,) = comparisons(
        [scores([1.0, 0.0, 0.0]), scores([3.0, 0.0, 0.0]), scores([2.0, 0, 0])], alike=True
    )
    assert one.max_logit_difference == 2.0
    assert one.agree


def test_the_divergence_of_three_models_is_at_most_their_logarithm() -> None:
    apart = np.eye(3)[:, None, :]
    assert math.log2(3) == pytest.approx(js_divergence(apart)[0], rel=4 * 2**-52)


def test_the_divergence_is_the_one_of_scipy() -> None:
    p, q = np.random.default_rng(0).dirichlet(np.ones(10), size=(2, 50))
    expected = jensenshannon(p, q, axis=1, base=2) ** 2
    # Both sum 20 terms below 1 in float64: 20 roundings, doubled by the square of scipy's root.
    np.testing.assert_allclose(expected, js_divergence(np.stack([p, q])), rtol=0, atol=40 * 2**-52)


def test_natural_logarithms_would_be_noticed() -> None:
    p, q = np.random.default_rng(0).dirichlet(np.ones(10), size=(2, 50))
    wrong = jensenshannon(p, q, axis=1) ** 2
    assert (np.abs(wrong - js_divergence(np.stack([p, q]))) > 40 * 2**-52).all()
