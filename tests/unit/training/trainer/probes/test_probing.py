"""When probes are due, and that what they find survives a stop."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from training.data.device_split import DeviceSplit
from training.recipes import load_recipe, patched
from training.recipes.recipe import ProbesRecipe
from training.trainer.probes.measurement import (
    Measurement,
    read_measurements,
    write_measurements,
)
from training.trainer.probes.probe import Bench, Probe, own_draws
from training.trainer.probes.probing import Probing, is_due


class Counting(Probe):
    """Draws random numbers in every call, and counts its steps."""

    def __init__(self, bench):
        super().__init__(bench)
        self.steps = 0

    def before_step(self, network):
        torch.rand(3)

    def after_step(self, network):
        self.steps += 1

    def after_due_step(self, network) -> Iterator[tuple[str, str, float]]:
        yield "draw", "conv1", torch.rand(1).item()

    def after_epoch(self, network):
        yield "steps", "", float(self.steps)

    def at_point(self, network):
        yield "gap", "", 0.25

    def state(self):
        return {"steps": torch.tensor(self.steps)}

    def restore(self, state):
        self.steps = int(state["steps"])


def probing(**recipe):
    network = nn.Linear(2, 2)
    made = Probing(ProbesRecipe(**recipe), network, torch.autocast("cpu", enabled=False))
    made.probes = [Counting(None)]
    return made


def take(made, steps, first=0):
    for step in range(first, steps):
        made.before_step(step)
        made.after_step(step, 10)


def test_steps_are_due_at_powers_of_two_and_then_at_every_so_many():
    recipe = ProbesRecipe(every=50)
    assert [step for step in range(151) if is_due(step, recipe)] == [
        *(0, 1, 2, 4, 8, 16, 32, 50, 100, 150)
    ]


def test_a_measurement_says_how_many_steps_were_done_before_it():
    made = probing(every=4)
    take(made, 5)
    assert [(one.step, one.epoch) for one in made.measurements] == [
        (0, 0.0),
        (1, 0.1),
        (2, 0.2),
        (4, 0.4),
    ]


def test_points_are_measured_after_their_step_and_carry_its_name():
    made = probing(points={"updates": 3}, every=1000)
    take(made, 5)
    (gap,) = [one for one in made.measurements if one.measure.startswith("gap")]
    assert (gap.measure, gap.step) == ("gap_at_updates", 3)


def test_probes_draw_from_generators_of_their_own():
    torch.manual_seed(0)
    expected = torch.rand(4)
    made = probing()
    torch.manual_seed(0)
    take(made, 20)
    assert torch.equal(torch.rand(4), expected)


def test_every_probe_draws_the_same_numbers_each_time():
    made = probing()
    take(made, 9)
    assert len({one.value for one in made.measurements}) == 1


def test_own_draws_leave_the_generator_where_it_was_even_after_an_error():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with contextlib.suppress(ValueError), own_draws(torch.device("cpu")):
        torch.rand(1)
        raise ValueError
    assert torch.equal(torch.get_rng_state(), before)


def test_what_was_measured_and_the_probes_states_survive_a_stop(monkeypatch):
    first = probing()
    take(first, 6)
    second = probing()
    second.restore(first.state())
    monkeypatch.setattr("training.trainer.probes.probing._probes", lambda *_: [Counting(None)])
    second.attach(None)
    take(second, 10, first=6)
    second.after_epoch(1, 10)
    assert second.measurements[:-1] == [*first.measurements, second.measurements[-2]]
    assert second.measurements[-1] == Measurement(1.0, 10, "steps", 10.0)


def test_a_recipe_without_probes_has_none():
    recipe = load_recipe("keras-bn")
    images = DeviceSplit(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4).long())
    made = Probing(recipe.probes, nn.Linear(1, 1), torch.autocast("cpu", enabled=False))
    made.attach(Bench(recipe, images, images))
    assert made.probes == []
    recipe = patched(recipe, {"probes": {"precise_bn": 10}}, "here")
    made = Probing(recipe.probes, nn.Linear(1, 1), torch.autocast("cpu", enabled=False))
    made.attach(Bench(recipe, images, images))
    assert len(made.probes) == 1


def test_measurements_read_back_as_they_were_written(tmp_path):
    rows = [Measurement(0.5, 10, "loss", 1.25), Measurement(1.0, 20, "p15", -0.5, "conv1")]
    write_measurements(rows, tmp_path / "measures.jsonl")
    assert read_measurements(tmp_path / "measures.jsonl") == rows
    assert read_measurements(tmp_path / "none.jsonl") == []
