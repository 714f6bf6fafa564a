"""What is drawn for an epoch, and what for a batch."""

import pytest
import torch

from training.data.augmentation import EpochAugmentation, mean_colour
from training.recipes.recipe import AugmentationRecipe

COUNT = 40


def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (COUNT, 3, 32, 32), dtype=torch.uint8, generator=generator)


def epoch(number=0, seed=7, **options):
    generator = torch.Generator().manual_seed(100 + number)
    return EpochAugmentation(images(), AugmentationRecipe(**options), seed, number, generator)


EVERY = torch.arange(COUNT)


def mirrored(batch):
    """Return which images of the batch are mirrored, after asserting that all others are not."""
    plain = images().float() / 255
    straight = torch.tensor([torch.equal(a, b) for a, b in zip(batch, plain, strict=True)])
    turned = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(batch, plain, strict=True)])
    assert torch.equal(straight, ~turned)
    return turned


def test_alternating_flip_shows_each_image_both_ways_in_two_epochs():
    first, second, third = (
        mirrored(epoch(n, alternating_flip=True).batch(EVERY)) for n in range(3)
    )
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 0 < first.sum() < COUNT  # the first epoch is a coin, not all or none


def test_a_coin_in_every_epoch_would_repeat_many():
    """Negative control: independent coins show about half of the images the same way twice."""
    coins = [torch.rand(COUNT, generator=torch.Generator().manual_seed(n)) < 0.5 for n in range(2)]
    assert (coins[0] == coins[1]).sum() > COUNT / 4


def test_crops_depend_on_neither_batch_size_nor_order():
    whole = epoch(crop=2, alternating_flip=True).batch(EVERY)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    augmentation = epoch(crop=2, alternating_flip=True)
    parts = torch.cat([augmentation.batch(part) for part in order.split(7)])
    assert torch.equal(parts, whole[order])
    assert not torch.equal(whole, epoch(1, crop=2, alternating_flip=True).batch(EVERY))


def test_crops_reach_every_shift_and_none_beyond():
    shift = epoch(crop=2).shift
    assert set(shift.flatten().tolist()) == {-2, -1, 0, 1, 2}


def test_brightness_shifts_and_contrast_scales_by_no_more_than_asked():
    plain = images().float() / 255
    moved = epoch(brightness=0.2).batch(EVERY) - plain
    spread = moved.flatten(1).std(dim=1)
    assert spread.max() < 1e-6  # one shift for all of an image
    assert 0.01 < moved.abs().max() <= 0.05
    middle = mean_colour(images())
    scaled = (epoch(contrast=0.2).batch(EVERY) - middle) / (plain - middle)
    factors = scaled.flatten(1).median(dim=1).values
    torch.testing.assert_close(
        scaled.flatten(1), factors[:, None].expand(-1, 3072), rtol=1e-2, atol=1e-2
    )
    assert 0.05 < (factors - 1).abs().max() <= 0.2


def test_cutout_leaves_a_square_of_the_mean_colour():
    batch = epoch(cutout=12).batch(EVERY)
    plain = images().float() / 255
    hole = (batch != plain).any(dim=1)
    # A pixel of the very mean colour may not differ; the square's extent does not depend on it.
    rows, columns = hole.any(dim=2).sum(dim=1), hole.any(dim=1).sum(dim=1)
    assert rows.tolist() == columns.tolist() == [12] * COUNT
    inside = batch.permute(0, 2, 3, 1)[hole]
    assert torch.equal(inside, mean_colour(images()).flatten().expand_as(inside))
    corners = {tuple(image.nonzero()[0].tolist()) for image in hole}
    assert len(corners) > COUNT / 2


def test_without_options_images_are_only_scaled():
    assert torch.equal(epoch().batch(EVERY), images().float() / 255)


@pytest.mark.parametrize("options", [{"crop": 2}, {"brightness": 0.1}, {"cutout": 8}])
def test_the_epochs_generator_decides(options):
    left, right = epoch(0, **options).batch(EVERY), epoch(0, **options).batch(EVERY)
    assert torch.equal(left, right)
    assert not torch.equal(left, epoch(1, **options).batch(EVERY))
