"""Networks that torch.fx cannot trace are read by torch.export; else both reasons are given."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.random_networks import TOLERANCE, image, largest_error, randomize
from training.errors import FoldError
from training.folding.torch_frontend import fold_network

IMAGE = (2, 3, 8, 8)


class LooksAtShapes(nn.Module):
    """Python code decides by rank and size, and unpacks them."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        if x.dim() != 4 or x.shape[1] != 3:
            raise ValueError(f"images, please, not {tuple(x.shape)}")
        batch, *_ = x.shape
        return self.body(x).reshape(batch, -1)


class Block(nn.Module):
    """Branches of one input, up and down again."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.short, self.short_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.norm(self.conv(x))
        y += self.short_norm(self.short(x))
        return functional.relu_(y)


BODIES = {
    "pair": [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()],
    "border": [nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, 2, padding=1), nn.Sigmoid()],
    "pad": [nn.Conv2d(3, 8, 3), nn.ZeroPad2d(1), nn.BatchNorm2d(8)],
    "pool": [nn.Conv2d(3, 8, 3), nn.AvgPool2d(2), nn.Dropout(), nn.BatchNorm2d(8)],
    "up": [nn.Conv2d(3, 8, 1), nn.Upsample(scale_factor=2, mode="bilinear"), nn.BatchNorm2d(8)],
    "transposed": [nn.ConvTranspose2d(3, 8, 3, 2, 1, 1, bias=False), nn.BatchNorm2d(8)],
    "block": [nn.Conv2d(3, 8, 1), nn.ReLU(), Block(), nn.Conv2d(8, 2, 1)],
    "dense": [nn.Conv2d(3, 8, 8), nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 4)],
    "mean": [nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8), nn.Flatten()],
}


@pytest.mark.parametrize("layers", BODIES.values(), ids=BODIES.keys())
def test_what_torch_fx_cannot_trace_is_folded_and_takes_any_batch(layers):
    network = randomize(LooksAtShapes(nn.Sequential(*layers)))
    folded = fold_network(network, image(*IMAGE))
    assert "read by torch.export" in folded.note
    assert "sizes, 2x3x8x8, in any batch" in folded.note
    assert all(row.folded for row in folded.rows)
    assert all(name.startswith("body.") for row in folded.rows for name in row.into)
    assert "batch_norm" not in folded.network.code
    for batch in (1, 2, 5):
        assert largest_error(network, folded.network, image(batch, *IMAGE[1:])) < TOLERANCE


def test_an_example_of_one_image_leaves_the_batch_free_too():
    network = randomize(LooksAtShapes(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))))
    folded = fold_network(network, image(1, 3, 8, 8))
    assert largest_error(network, folded.network, image(4, 3, 8, 8)) < TOLERANCE


def test_a_network_for_one_batch_stays_for_that_one_and_says_so():
    class Pairs(LooksAtShapes):
        def forward(self, x):
            return self.body(x) if len(x) == 2 else x

    network = randomize(Pairs(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))))
    folded = fold_network(network, image(*IMAGE))
    assert folded.note.endswith("sizes, 2x3x8x8")
    assert [row.into for row in folded.rows] == [("body.0",)]
    assert largest_error(network, folded.network, image(*IMAGE)) < TOLERANCE


class Branching(nn.Module):
    """Does one or the other, as its input's numbers say."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x)) if x.sum() > 0 else x


def test_a_network_that_neither_reads_is_refused_with_both_reasons_and_the_remedy():
    with pytest.raises(
        FoldError,
        match=r"torch.fx cannot trace Branching: .*; torch.export cannot either: .*; export it to",
    ):
        fold_network(Branching().eval(), image(2, 3, 5, 5))


def test_a_part_that_neither_reads_is_kept_whole_and_the_others_fold():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), Branching(), nn.Conv2d(3, 2, 1))
    randomize(network)
    folded = fold_network(network, image(2, 3, 5, 5))
    assert [(row.norm.name, row.into) for row in folded.rows] == [("1", ("0",)), ("2.norm", ())]
    assert "inside of 2 (Branching), which torch.fx cannot trace: " in folded.rows[1].reason
    assert largest_error(network, folded.network, image(2, 3, 5, 5)) < TOLERANCE


def test_a_network_that_would_have_to_be_exported_in_training_mode_is_refused():
    network = LooksAtShapes(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))).double()
    with pytest.raises(FoldError, match=r"LooksAtShapes is in training mode; call eval\(\) first"):
        fold_network(network.train(), image(*IMAGE))


def test_a_hook_that_exporting_would_lose_is_named():
    network = LooksAtShapes(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))).double().eval()
    network.body[0].register_forward_hook(lambda module, inputs, output: None)
    with pytest.raises(FoldError, match=r"would lose the hook on body\.0; remove it first"):
        fold_network(network, image(*IMAGE))


def test_state_that_python_keeps_is_found_where_only_export_reads_the_network():
    class Counts(LooksAtShapes):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) * self.calls

    network = randomize(Counts(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))))
    with pytest.raises(FoldError, match="traces a network that computes something else"):
        fold_network(network, image(*IMAGE))


def test_several_inputs_and_outputs_of_an_exported_network_are_kept():
    class TwoInputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x, y):
            assert x.shape == y.shape
            return {"sum": self.norm(self.conv(x)) + y, "y": [y * 2]}

    network = randomize(TwoInputs())
    example = (image(2, 3, 5, 5), image(2, 3, 5, 5, seed=2))
    folded = fold_network(network, example)
    with torch.no_grad():
        expected, given = network(*example), folded.network(*example)
    assert (expected["sum"] - given["sum"]).abs().max() < TOLERANCE
    assert torch.equal(expected["y"][0], given["y"][0])
