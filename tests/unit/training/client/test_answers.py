"""Whether two answers can be one image's."""

import random

import pytest

from training.client.answers import TOLERANCE, answer_of, count_look_alikes

ONE = [(3, 0.6), (5, 0.3), (1, 0.09), (7, 0.01)]


def scaled(answer, factor):
    return answer_of((index, probability * factor) for index, probability in answer)


def test_the_classes_are_put_in_order():
    assert [index for index, _ in answer_of(reversed(ONE)).top] == [3, 5, 1, 7]


def test_an_answer_agrees_with_itself_within_rounding_and_with_no_other():
    assert answer_of(ONE).agrees(scaled(ONE, 1 + TOLERANCE / 2))
    assert not answer_of(ONE).agrees(scaled(ONE, 1 + TOLERANCE * 2))
    assert not answer_of(ONE).agrees(answer_of(ONE[:3]))


def test_two_confident_answers_with_one_label_are_told_apart_by_the_runners_up():
    cat, other_cat = [(3, 0.99999), (5, 1e-5)], [(3, 0.999999), (5, 1e-6)]
    assert not answer_of(cat).agrees(answer_of(other_cat))


def test_a_near_tie_for_the_last_place_does_not_matter():
    first, second = [(3, 0.6), (5, 0.2)], [(3, 0.6), (4, 0.2001)]
    assert answer_of(first).agrees(answer_of(second))
    assert not answer_of(first).agrees(answer_of([(3, 0.6), (4, 0.3)]))


def test_a_probability_of_zero_is_the_smallest_that_is_told_apart():
    assert answer_of([(0, 1.0), (1, 0.0)]).agrees(answer_of([(0, 1.0), (1, 1e-40)]))


@pytest.mark.parametrize("probabilities", [[], [(0, float("nan"))]])
def test_what_is_no_answer_is_refused(probabilities):
    with pytest.raises(ValueError, match="at least one class"):
        answer_of(probabilities)


def test_look_alikes_are_those_that_comparing_every_pair_finds():
    chance = random.Random(0)
    answers = [
        answer_of((k, chance.choice([0.1, 0.1005, 0.2])) for k in range(3)) for _ in range(60)
    ]
    every_pair = {
        i for i, a in enumerate(answers) for j, b in enumerate(answers) if i != j and a.agrees(b)
    }
    assert 0 < len(every_pair) < 60
    assert count_look_alikes(answers) == len(every_pair)
