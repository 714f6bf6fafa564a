"""What quantization changed, counted on logits small enough to count by hand."""

import numpy as np

from training.release.quantization.effect import compare_logits
from training.release.quantization.layer_errors import LayerError
from training.release.quantization.quantized_release import too_great_a_loss

LABELS = np.array([0, 1, 2, 0])
NAMES = ("a", "b", "c")
FLOAT32 = np.array([[5, 1, 0], [1, 5, 0], [3, 2, 1], [0, 4, 1]], np.float32)


def effect(int8, emulated=None):
    return compare_logits(FLOAT32, int8, int8 if emulated is None else emulated, LABELS, NAMES)


def test_the_same_logits_have_no_effect():
    same = effect(FLOAT32)
    assert [same.label_changes, same.largest_logit_difference, same.emulation_difference] == [0] * 3
    assert same.accuracy_difference_points == 0
    assert same.test.correct == 2


def test_changes_are_counted_by_what_they_did():
    int8 = FLOAT32.copy()
    int8[0, 1] = 6  # right to wrong
    int8[2, 2] = 4.5  # wrong to right
    int8[3, 2] = 9  # wrong to wrong
    changed = effect(int8)
    assert changed.label_changes == 3
    assert [changed.right_to_wrong, changed.wrong_to_right] == [1, 1]
    assert changed.accuracy_difference_points == 0
    assert changed.largest_logit_difference == 8
    assert changed.root_mean_square_difference == np.sqrt((25 + 3.5**2 + 64) / 12)


def test_a_loss_is_negative_and_in_points():
    int8 = FLOAT32.copy()
    int8[0, 1] = 6
    assert effect(int8).accuracy_difference_points == -25


def test_emulation_is_compared_with_the_integer_kernels_and_not_with_float32():
    int8, emulated = FLOAT32 + 1, FLOAT32 + 1
    emulated[1, 2] = 7
    changed = effect(int8, emulated)
    assert changed.largest_logit_difference == 1
    assert changed.emulation_difference == 6
    assert changed.emulation_label_changes == 1


def test_a_loss_names_the_layers_or_the_runtime_that_rewrote_the_graph():
    wrong = FLOAT32[:, ::-1].copy()
    layers = [LayerError("first", 0.01), LayerError("second", 0.2)]
    rounded = too_great_a_loss(effect(wrong), 0.3, layers)
    assert "one layer alone is rounded: second 20.0%, first 1.0%. Keep the worst" in rounded
    assert "--keep second," in rounded
    rewritten = too_great_a_loss(effect(wrong, emulated=FLOAT32), 0.3, layers)
    assert "Run as it is written it answers 2 of them differently: onnxruntime's" in rewritten
    assert "--keep" not in rewritten
