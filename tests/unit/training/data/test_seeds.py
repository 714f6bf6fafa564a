"""A seed per purpose and epoch."""

import itertools

import torch

from training.data.seeds import Stream, stream_generator, stream_seed

SEEDS_OF_RUN_7 = {
    "INITIALIZATION": 8_460_147_692_890_830_636,
    "ORDER": 3_317_731_564_112_288_844,
    "AUGMENTATION": 9_139_555_415_570_476_218,
    "DROPOUT": 2_530_781_778_362_038_830,
    "FLIP": 6_355_185_125_837_863_469,
}


def test_each_purpose_epoch_and_seed_has_its_own():
    keys = itertools.product(range(4), Stream, range(50))
    assert len({stream_seed(*key) for key in keys}) == 4 * len(Stream) * 50


def test_the_seeds_are_part_of_every_runs_identity():
    """They may not change, or no checkpoint would go on as it began."""
    assert {stream.name: stream_seed(7, stream) for stream in Stream} == SEEDS_OF_RUN_7


def test_a_generator_draws_the_same_whatever_was_drawn_elsewhere():
    first = torch.rand(5, generator=stream_generator(7, Stream.ORDER, 3))
    torch.manual_seed(0)
    assert torch.equal(first, torch.rand(5, generator=stream_generator(7, Stream.ORDER, 3)))
    assert not torch.equal(first, torch.rand(5, generator=stream_generator(7, Stream.ORDER, 4)))
