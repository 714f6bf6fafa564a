"""Muon: orthogonal updates, kept norms, and the arithmetic of its momentum."""

import pytest
import torch

from training.trainer.methods.muon import Muon, orthogonalize


def filters(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(16, 27), (27, 16), (16, 16)])
def test_singular_values_are_moved_near_one(shape):
    matrix = filters(*shape)
    before = torch.linalg.svdvals(matrix / matrix.norm())
    after = torch.linalg.svdvals(orthogonalize(matrix, steps=5))
    assert before.max() / before.min() > 5  # negative control: they were far apart
    assert after.min() > 0.6
    assert after.max() < 1.3


def test_singular_vectors_are_kept():
    matrix = filters(16, 27)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    middle = left.T @ orthogonalize(matrix, steps=3) @ right.T
    off_diagonal = middle - middle.diagonal().diag()
    assert off_diagonal.abs().max() < 1e-5
    assert middle.diagonal().min() > 0


def test_a_step_is_momentum_then_orthogonal_then_a_fixed_norm():
    weight = torch.nn.Parameter(filters(8, 4, 3, 3))
    start = weight.detach().clone()
    optimizer = Muon([weight], lr=0.1, momentum=0.6, steps=3)
    gradients = [filters(8, 4, 3, 3, seed=seed) for seed in (1, 2)]
    expected, buffer = start, torch.zeros_like(start)
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
        buffer = 0.6 * buffer + gradient
        update = orthogonalize((gradient + 0.6 * buffer).flatten(1), 3).view_as(gradient)
        expected = expected * 8**0.5 / expected.norm() - 0.1 * update
    torch.testing.assert_close(weight.detach(), expected)
    assert not torch.allclose(weight.detach(), start)


def test_the_size_of_the_gradient_does_not_matter():
    moved = []
    for scale in (1e-3, 1e3):
        weight = torch.nn.Parameter(filters(8, 4, 3, 3))
        weight.grad = scale * filters(8, 4, 3, 3, seed=1)
        Muon([weight], lr=0.1, momentum=0.6, steps=3).step()
        moved.append(weight.detach())
    torch.testing.assert_close(*moved, rtol=1e-3, atol=1e-3)


def test_filters_without_a_gradient_stand_still():
    weight = torch.nn.Parameter(filters(8, 4, 3, 3))
    start = weight.detach().clone()
    Muon([weight], lr=0.1, momentum=0.6, steps=3).step()
    assert torch.equal(weight.detach(), start)


def test_what_is_no_filter_bank_is_refused():
    with pytest.raises(ValueError, match=r"moves filters .* \(10, 64\) is none"):
        Muon([torch.nn.Parameter(torch.zeros(10, 64))], lr=0.1, momentum=0.6, steps=3)
