from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.api.v2.infer.outputs import RequestedOutput, best_labels
from service.api.v2.infer.response import InferAnswer, ScoredBy, write_infer_answer
from service.inference.session import Scores
from tests.synthetic import LABELS

LOGITS = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32) * 5
EXPONENTS = np.exp(LOGITS)
SCORES = Scores(LOGITS, EXPONENTS / EXPONENTS.sum(axis=1, keepdims=True))
BY = ScoredBy("tiny-bn", "1.0.0", LABELS, "mine")


def write(*outputs: RequestedOutput) -> InferAnswer:
    return write_infer_answer(SCORES, outputs, BY)


def table_of(answer: InferAnswer) -> Any:
    return json.loads(answer.body[: answer.header_bytes])


def test_binary_outputs_follow_the_json_in_order() -> None:
    answer = write(*(RequestedOutput(n, binary=True) for n in ("probabilities", "logits")))
    assert answer.header_bytes is not None
    rest = answer.body[answer.header_bytes :]
    assert rest == SCORES.probabilities.tobytes() + SCORES.logits.tobytes()
    for output in table_of(answer)["outputs"]:
        assert output["parameters"] == {"binary_data_size": 120}
        assert "data" not in output


def test_scores_that_do_not_lie_together_are_written_right() -> None:
    apart = Scores(LOGITS[:, ::-1], np.asfortranarray(SCORES.probabilities))
    outputs = [RequestedOutput(n, binary=True) for n in ("logits", "probabilities")]
    answer = write_infer_answer(apart, outputs, BY)
    expected = LOGITS[:, ::-1].tobytes("C") + SCORES.probabilities.tobytes("C")
    assert answer.body[answer.header_bytes :] == expected


def test_a_classification_names_the_best_labels_with_their_scores() -> None:
    answer = write(RequestedOutput("probabilities", binary=False, classes=2))
    (output,) = table_of(answer)["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [3, 2])
    first = output["data"][0].split(":")
    best = int(LOGITS[0].argmax())
    assert (int(first[1]), first[2]) == (best, LABELS[best])
    # Six decimals are written: off by half of the last one at most.
    assert abs(float(first[0]) - SCORES.probabilities[0, best]) <= 0.5e-6


def test_a_binary_classification_has_each_text_after_its_length() -> None:
    texts = table_of(write(RequestedOutput("logits", binary=False, classes=2)))["outputs"][0]
    answer = write(RequestedOutput("logits", binary=True, classes=2))
    rest = answer.body[answer.header_bytes :]
    expected = b"".join(len(text).to_bytes(4, "little") + text.encode() for text in texts["data"])
    assert rest == expected
    (output,) = table_of(answer)["outputs"]
    assert output["parameters"] == {"binary_data_size": len(expected)}


@pytest.mark.parametrize("classes", [10, 11, 2**62])
def test_there_are_never_more_labels_than_classes(classes: int) -> None:
    rows = best_labels(SCORES, SCORES.logits, LABELS, classes)
    assert [len(row) for row in rows] == [10, 10, 10]


def test_labels_of_one_probability_come_in_the_order_of_their_logits() -> None:
    logits = np.array([[1.0, 3.0, 2.0]], np.float32)
    scores = Scores(logits, np.full((1, 3), 1 / 3, np.float32))
    (row,) = best_labels(scores, scores.probabilities, ("a", "b", "c"), 3)
    assert [text.split(":")[2] for text in row] == ["b", "c", "a"]
