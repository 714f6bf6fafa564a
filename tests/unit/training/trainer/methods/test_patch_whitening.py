"""Patch whitening makes the first layer's responses uncorrelated, of variance one."""

import torch
from torch.nn import functional

from training.trainer.methods.patch_whitening import whitening_filters


def natural_images(count=200):
    """Smooth random images: neighbouring pixels and colours are alike, as in photographs."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    coarse = coarse + coarse.mean(1, keepdim=True)
    fine = functional.interpolate(coarse / 2, (32, 32), mode="bilinear")
    noise = 0.05 * torch.rand(count, 3, 32, 32, generator=generator)
    return ((fine + noise).clamp(0, 1) * 255).to(torch.uint8)


def covariance(responses):
    return torch.cov(responses.permute(1, 0, 2, 3).flatten(1).double())


def test_responses_are_uncorrelated_and_centred():
    images = natural_images()
    weight, bias = whitening_filters(images, epsilon=0.0)
    assert weight.shape == (24, 3, 2, 2)
    responses = functional.conv2d(images.float() / 255, weight, bias)[:, :12]
    torch.testing.assert_close(covariance(responses), torch.eye(12).double(), rtol=0, atol=1e-2)
    assert responses.mean(dim=(0, 2, 3)).abs().max() < 0.3  # patches leave out the border
    # Before, a patch's pixels are nearly copies of each other.
    patches = functional.unfold(images[:50].float() / 255, 2).transpose(0, 1).flatten(1)
    assert torch.corrcoef(patches).fill_diagonal_(0).max() > 0.9


def test_epsilon_keeps_faint_directions_faint():
    images = natural_images()
    weight, bias = whitening_filters(images, epsilon=0.1)
    responses = functional.conv2d(images.float() / 255, weight, bias)[:, :12]
    variances = covariance(responses).diagonal()
    assert variances.max() <= 1.0
    assert variances.min() < 0.5


def test_every_direction_comes_with_both_signs():
    weight, bias = whitening_filters(natural_images())
    assert torch.equal(weight[:12], -weight[12:])
    torch.testing.assert_close(bias[:12], -bias[12:])


def test_only_the_first_images_are_read():
    images = natural_images(60)
    changed = images.clone()
    changed[50:] = 0
    filters = whitening_filters(images, count=50)[0]
    assert torch.equal(filters, whitening_filters(changed, count=50)[0])
    changed[0] = 0
    assert not torch.equal(filters, whitening_filters(changed, count=50)[0])
