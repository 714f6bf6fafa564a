"""Folding into the network itself: what changes, what stays, and what that leaves unfolded."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.random_networks import TOLERANCE, batch_norms, image, largest_error, randomize
from training.folding.torch_frontend.capture import capture
from training.folding.torch_frontend.in_place import change_in_place

IMAGE = (2, 3, 9, 9)
Seq = nn.Sequential


def folded(network, *shape):
    """Return the rows, and a copy of the network that is folded in place."""
    change = change_in_place(capture(network, (image(*shape),)))
    copied = copy.deepcopy(network)
    change.apply(copied)
    return change.rows, copied


class Activated(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.ReLU()

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class ActivatedTwice(Activated):
    def forward(self, x):
        return functional.dropout(super().forward(x), 0.5, self.training)


class Sloped(nn.BatchNorm2d):
    """What is left has parameters, and reads its input twice."""

    def __init__(self, channels):
        super().__init__(channels)
        self.slope = nn.Parameter(torch.full((1,), 0.3, dtype=torch.float64))

    def forward(self, x):
        x = super().forward(x)
        return torch.maximum(x, x * self.slope)


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 2, 4).view(-1, 1, 1))
        self.register_buffer("shift", torch.linspace(-1, 1, 4).view(-1, 1, 1))

    def forward(self, x):
        return x * self.scale + self.shift


@pytest.mark.parametrize(
    ("norm", "left"),
    [
        (nn.BatchNorm2d(4), nn.Identity),
        (nn.BatchNorm2d(4, affine=False), nn.Identity),
        (nn.SyncBatchNorm(4), nn.Identity),
        (Frozen(), nn.Identity),
        (Activated(4), nn.ReLU),
        (ActivatedTwice(4), torch.fx.GraphModule),
        (Sloped(4), torch.fx.GraphModule),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_batch_norm_becomes_what_else_its_forward_did(norm, left, bias):
    network = randomize(Seq(nn.Conv2d(3, 4, 3, bias=bias), copy.deepcopy(norm), nn.Conv2d(4, 2, 1)))
    rows, changed = folded(network, *IMAGE)
    assert [row.into for row in rows] == [("0",)]
    assert isinstance(changed[1], left)
    assert batch_norms(changed) == []
    assert largest_error(network, changed, image(3, 3, 7, 8)) < TOLERANCE


def test_the_tolerance_notices_a_bias_that_was_forgotten():
    network = randomize(Seq(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)))
    _, changed = folded(network, *IMAGE)
    changed[0].bias = None
    assert largest_error(network, changed, image(*IMAGE)) > 1000 * TOLERANCE


class Backbone(nn.Module):
    """Has a method besides its forward."""

    def __init__(self):
        super().__init__()
        self.stem = Seq(nn.Conv2d(3, 4, 3, bias=False), Activated(4))
        self.head = nn.Linear(4, 2)

    def forward_features(self, x):
        return self.stem(x)

    def forward(self, x):
        return self.head(self.forward_features(x).mean((2, 3)))


def test_the_class_its_methods_and_its_parameters_names_stay():
    network = randomize(Backbone())
    _, changed = folded(network, *IMAGE)
    assert type(changed) is Backbone
    x = image(*IMAGE)
    expected = network.forward_features(x)
    assert (changed.forward_features(x) - expected).abs().max() < TOLERANCE * expected.abs().max()
    assert set(changed.state_dict()) == {
        "stem.0.weight",
        "stem.0.bias",
        "head.weight",
        "head.bias",
    }
    assert changed.stem[0].weight.requires_grad


def test_hooks_stay_where_they_were_and_what_they_see_is_not_folded():
    network = randomize(
        Seq(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    )
    network[0].register_forward_hook(lambda module, inputs, output: output * 2)
    network.register_forward_hook(lambda module, inputs, output: output + 1)
    rows, changed = folded(network, *IMAGE)
    assert [row.folded for row in rows] == [False, True]
    assert largest_error(network, changed, image(*IMAGE)) < TOLERANCE


def test_a_batch_norm_whose_forward_takes_more_than_its_input_stays():
    class Weighted(nn.BatchNorm2d):
        def forward(self, x, by=1.0):
            return super().forward(x) * by

    network = randomize(
        Lambda(lambda n, x: n.other(n.conv(x), by=2.0), other=Weighted(3), norm=nn.Identity())
    )
    rows, changed = folded(network, *IMAGE)
    assert [row.reason for row in rows] == ["in place only weights change; a copy has it in conv"]
    assert largest_error(network, changed, image(*IMAGE)) == 0


def test_one_batch_norm_after_two_layers_goes_from_both():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.other(torch.relu(self.norm(self.one(x)))))

    network = randomize(Shared())
    rows, changed = folded(network, *IMAGE)
    assert [(row.calls, row.into) for row in rows] == [(2, ("one", "other"))]
    assert largest_error(network, changed, image(*IMAGE)) < TOLERANCE


class Lambda(nn.Module):
    def __init__(self, body, **parts):
        super().__init__()
        self.body = body
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.body(self, x)


COPIES_ONLY = {
    "a border of its own": Lambda(lambda n, x: n.conv(n.norm(torch.relu(x)))),
    "padding by a node": Lambda(
        lambda n, x: functional.relu(n.norm(functional.pad(n.conv(x), (1, 1))))
    ),
    "parallel layers": Lambda(
        lambda n, x: n.conv(torch.relu(x)) * 1 + n.norm(y := torch.relu(x)) + n.other(y),
        other=nn.Conv2d(3, 3, 1),
    ),
    "one of two calls": Lambda(
        lambda n, x: torch.relu(n.norm(torch.relu(n.norm(n.conv(x))))),
    ),
    "a function of the network's": Lambda(
        lambda n, x: functional.batch_norm(n.conv(x), n.mean, n.var),
        mean=nn.Parameter(torch.rand(3)),
        var=nn.Parameter(torch.rand(3)),
    ),
    "weights that code uses": Lambda(
        lambda n, x: n.norm(functional.conv2d(x, n.conv.weight * 2)),
    ),
    "weight norm": Lambda(
        lambda n, x: n.norm(n.other(x)),
        other=nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)),
    ),
}


@pytest.mark.parametrize("network", COPIES_ONLY.values(), ids=COPIES_ONLY.keys())
def test_what_other_weights_cannot_do_is_not_done_in_place(network):
    network = randomize(network)
    rows, changed = folded(network, *IMAGE)
    assert not any(row.folded for row in rows)
    assert all(torch.equal(a, b) for a, b in zip(*map(tensors, (network, changed)), strict=True))
    assert largest_error(network, changed, image(*IMAGE)) == 0


def tensors(network):
    return network.state_dict().values()


def test_a_batch_norm_that_only_a_copy_can_be_without_says_where_it_has_it():
    network = randomize(COPIES_ONLY["a border of its own"])
    rows, _ = folded(network, *IMAGE)
    assert rows[0].reason == "in place only weights change; a copy has it in conv"


def test_layers_side_by_side_stay_two():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
            self.norm, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.one(x)) + self.second(self.other(x))

    network = randomize(Sum())
    rows, changed = folded(network, *IMAGE)
    assert [row.into for row in rows] == [("one",), ("other",)]
    assert largest_error(network, changed, image(*IMAGE)) < TOLERANCE


def test_layers_that_come_to_stand_side_by_side_stay_two():
    """Two heads on one input, each behind a batch norm of its own."""

    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = Seq(nn.BatchNorm1d(6), nn.Linear(6, 4))
            self.other = Seq(nn.BatchNorm1d(6), nn.Linear(6, 4))

        def forward(self, x):
            return self.one(x) + self.other(x)

    network = randomize(Heads())
    rows, changed = folded(network, 5, 6)
    assert [row.into for row in rows] == [("one.1",), ("other.1",)]
    assert largest_error(network, changed, image(3, 6)) < TOLERANCE


def test_batch_norms_in_a_row_become_the_first_one_where_it_has_parameters():
    network = randomize(Seq(nn.ReLU(), nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.ReLU()))
    rows, changed = folded(network, *IMAGE)
    assert [row.folded for row in rows].count(True) == 1
    assert len(batch_norms(changed)) == 1
    assert largest_error(network, changed, image(*IMAGE)) < TOLERANCE
    bare = randomize(
        Seq(nn.ReLU(), nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, affine=False), nn.ReLU())
    )
    rows, changed = folded(bare, *IMAGE)
    assert [row.folded for row in rows] == [False, False]
    assert largest_error(bare, changed, image(*IMAGE)) == 0


def test_what_only_export_reads_is_folded_in_place_too():
    class LooksAtShapes(Backbone):
        def forward(self, x):
            if x.shape[1] != 3:
                raise ValueError
            return super().forward(x)

    network = randomize(LooksAtShapes())
    rows, changed = folded(network, *IMAGE)
    assert [row.into for row in rows] == [("stem.0",)]
    assert largest_error(network, changed, image(5, 3, 11, 7)) < TOLERANCE  # any size, still
