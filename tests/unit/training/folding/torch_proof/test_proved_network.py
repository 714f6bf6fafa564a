"""The result of folding a torch network: the proof, and how it shows itself."""

import copy

import pytest
import torch
from torch import nn

from tests.random_networks import batch_norms, image, randomize
from training.errors import UntestedError, VerificationError
from training.folding.torch_frontend import fold_network
from training.folding.torch_frontend.in_place import Change
from training.folding.torch_proof import fold_and_prove, fold_in_place
from training.folding.torch_proof.evidence import prove

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
IMAGE = (2, 3, 8, 8)


def network_of(dtype=torch.float32, pairs=1):
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    for _ in range(pairs - 1):
        layers += [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    layers += [nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(2)]
    return randomize(nn.Sequential(*layers)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_fold_is_proved_in_every_float_type(dtype):
    result = fold_and_prove(network_of(dtype), image(*IMAGE).to(dtype))
    assert result.verdict.holds
    assert result.verdict.judged == 7  # the example, and six kinds
    assert result.verdict.algebra.ratio < 1
    assert [row.folded for row in result.rows] == [True, True, False]


class Idle(nn.Module):
    """Has modules that it does not call."""

    def __init__(self, idle, *used):
        super().__init__()
        self.used = nn.Sequential(*used)
        for name, module in idle.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.used(x)


def damaged(network, scale=1.0, shift=0.0):
    """Return a copy with one channel of one weight scaled, and of one bias shifted."""
    wrong = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in wrong.named_parameters():
            if parameter.dim() > 1:
                parameter[1] *= scale
            elif name.endswith("bias"):
                parameter[1] += shift
    return wrong


@pytest.mark.parametrize("damage", [{"scale": 1.01}, {"shift": 0.01}])
def test_the_proof_notices_a_wrong_fold(damage):
    folded = fold_network(network_of(), image(*IMAGE).float())
    exact, inputs = folded.exact(), (image(*IMAGE).float(),)
    assert prove(folded.original, folded.network, exact, inputs).holds
    as_served = prove(folded.original, damaged(folded.network, **damage), exact, inputs)
    assert not as_served.holds
    assert as_served.rounding.ratio > 1
    algebra = prove(folded.original, folded.network, damaged(exact, **damage), inputs)
    assert not algebra.holds
    assert algebra.algebra.ratio > 1


def test_the_algebra_notices_what_float32_would_hide():
    folded = fold_network(network_of(), image(*IMAGE).float())
    exact = damaged(folded.exact(), scale=1 + 1e-8)
    verdict = prove(folded.original, folded.network, exact, (image(*IMAGE).float(),))
    assert verdict.rounding.ratio <= 1 < verdict.algebra.ratio


def test_a_fold_that_is_wrong_is_raised_and_the_network_is_as_it_was(monkeypatch):
    network = network_of()
    before = copy.deepcopy(network.state_dict())
    apply = Change.apply

    def wrong(self, target):
        apply(self, target)
        target[0].weight.data[0] *= 1.01

    monkeypatch.setattr(Change, "apply", wrong)
    with pytest.raises(VerificationError, match="which stays as it was"):
        fold_in_place(network, image(*IMAGE).float())
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())


def test_a_network_that_casts_to_narrower_types_is_computed_in_float64_all_the_same():
    class Casts(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.offset = torch.linspace(0, 1, 4).view(-1, 1, 1)  # no buffer: stays float32

        def forward(self, x):
            y = self.norm(self.conv(x)) + self.offset + torch.ones(1, dtype=torch.float32)
            return y.float().mean((2, 3)).softmax(1, dtype=torch.float32)

    verdict = fold_and_prove(randomize(Casts()).float(), image(*IMAGE).float()).verdict
    assert verdict.holds
    assert verdict.algebra.ratio < 1e-2


def test_what_cannot_be_computed_in_float64_is_not_passed_off_as_proved():
    class OnlyFloat32(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            torch._assert(x.dtype == torch.float32, "float32, please")
            return self.norm(self.conv(x))

    network = randomize(OnlyFloat32()).float()
    with pytest.raises(UntestedError, match=r"could not be tested: .*in float64: float32, pl"):
        fold_and_prove(network, image(*IMAGE).float())
    result = fold_and_prove(network, image(*IMAGE).float(), proof=False)
    assert result.verdict is None
    assert str(result).endswith("1 batch norm: 1 folded, 0 kept; not proved, as asked")


def test_inputs_that_a_network_does_not_take_are_left_out():
    class Ids(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(9, 6)
            self.dense, self.norm = nn.Linear(6, 4), nn.BatchNorm1d(4)

        def forward(self, ids):
            torch._assert((ids > 0).all(), "padding is 0")
            return self.norm(self.dense(self.words(ids)))

    result = fold_and_prove(randomize(Ids()), torch.tensor([1, 5, 8]))
    assert result.verdict.judged == 1
    assert result.rows[0].folded


def test_the_result_is_a_table_that_ends_with_the_verdict():
    result = fold_and_prove(network_of(), image(*IMAGE).float())
    lines = repr(result).splitlines()
    assert lines[0].split() == ["batch", "norm", "channels", "folded", "into,", "or", "why", "not"]
    assert [line.split()[:3] for line in lines[1:3]] == [["1", "4", "0"], ["3", "4", "4"]]
    assert lines[3].split()[:3] == ["6", "2", "kept:"]
    assert lines[4].startswith("3 batch norms: 2 folded, 1 kept; the proof holds: 7 outputs comp")
    assert str(result) == repr(result)


def test_the_table_of_a_deep_network_is_short_and_names_what_is_kept():
    result = fold_and_prove(network_of(pairs=60), image(*IMAGE).float(), proof=False)
    lines = repr(result).splitlines()
    assert len(lines) <= 40
    assert sum("kept: not into" in line for line in lines) == 1
    assert "… and 28 more, 0 of them kept: `rows` has all" in lines
    assert max(map(len, lines)) < 140


def test_a_notebook_shows_the_table_as_html():
    network = Idle({"<b>": nn.BatchNorm2d(9)}, nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    shown = fold_and_prove(network.eval(), torch.ones(IMAGE), proof=False)._repr_html_()
    assert "<td>used.1</td><td>4</td><td>used.0</td>" in shown
    assert "<td>&lt;b&gt;</td><td>9</td>" in shown
    assert shown.endswith("<p>2 batch norms: 1 folded, 1 kept; not proved, as asked</p>")


def test_a_network_without_batch_norms_says_that_it_has_none():
    result = fold_and_prove(nn.Linear(3, 2).eval(), torch.ones(2, 3))
    assert str(result).startswith("the network has no batch norm; the proof holds")


def test_a_network_that_calls_none_of_its_batch_norms_says_so():
    network = Idle({"idle": nn.BatchNorm2d(4)}, nn.Conv2d(3, 4, 1))
    result = fold_and_prove(network.eval(), torch.ones(IMAGE))
    assert "kept: the network never calls it" in str(result)
    assert "1 batch norm: 0 folded, 1 kept" in str(result)


def test_a_fold_in_place_is_the_network_itself_and_is_proved():
    network = network_of()
    expected = network(image(*IMAGE).float())
    result = fold_in_place(network, image(*IMAGE).float())
    assert result.network is network
    assert result.verdict.holds
    assert [row.folded for row in result.rows] == [True, False, False]
    assert len(batch_norms(network)) == 2
    torch.testing.assert_close(network(image(*IMAGE).float()), expected)


class Steep(nn.Module):
    """Where inputs are large, errors grow beyond what numbers can tell."""

    def __init__(self, always=False):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.always = always

    def forward(self, x):
        y = self.norm(self.conv(x))
        return (
            torch.sin(1e7 * y) if self.always else torch.sin(y * torch.exp(y.abs().clamp(max=20)))
        )


def test_inputs_where_rounding_grows_too_much_are_left_out_and_counted():
    verdict = fold_and_prove(randomize(Steep()).float(), image(*IMAGE).float() / 10).verdict
    assert verdict.holds
    assert 0 < verdict.judged < 7
    assert "of 7 left out, where rounding grows more than 1000 times" in verdict.notes[0]


def test_a_fold_of_which_nothing_can_be_told_is_not_passed_off_as_proved():
    with pytest.raises(UntestedError, match="could not be tested: 7 of 7 left out"):
        fold_and_prove(randomize(Steep(always=True)).float(), image(*IMAGE).float())
