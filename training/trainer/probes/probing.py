"""All probes of a run: when each is due, and what they have measured so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from training.recipes.recipe import ProbesRecipe
from training.trainer.probes.accuracy import AccuracyProbe
from training.trainer.probes.landscape import LandscapeProbe
from training.trainer.probes.layers import LayerProbe
from training.trainer.probes.measurement import Measurement
from training.trainer.probes.probe import Bench, Probe, own_draws
from training.trainer.probes.statistics import StatisticsProbe


class Probing:
    """The probes of one run; `seconds` is what they have cost in this process."""

    def __init__(self, recipe: ProbesRecipe, network: nn.Module, autocast: torch.autocast) -> None:
        self.recipe = recipe
        self.network = network
        self.autocast = autocast
        self.probes: list[Probe] = []
        self.measurements: list[Measurement] = []
        self.seconds = 0.0
        self._kept: list[dict[str, torch.Tensor]] = []  # states for the probes to come

    def attach(self, bench: Bench) -> None:
        """Build the probes that the recipe switches on, for these data."""
        self.probes = _probes(bench, self.network, self.autocast)
        for probe, state in zip(self.probes, self._kept, strict=False):
            probe.restore(state)

    def before_step(self, step: int) -> None:
        """Look at the network before the step with that index, counted over the whole run."""
        if self.probes and is_due(step, self.recipe):
            with self._measuring():
                for probe in self.probes:
                    probe.before_step(self.network)

    def after_step(self, step: int, steps: int) -> None:
        """Measure after the step with that index, in a run of epochs of `steps`."""
        for probe in self.probes:
            probe.after_step(self.network)
            if is_due(step, self.recipe):
                self._collect(step, steps, probe.after_due_step)
            for name, point in self.recipe.points.items():
                if step + 1 == point:
                    self._collect(point, steps, probe.at_point, f"_at_{name}")

    def after_epoch(self, epoch: int, steps: int) -> None:
        """Measure after the epoch with that number, counted from 1, of `steps`."""
        for probe in self.probes:
            self._collect(epoch * steps, steps, probe.after_epoch)

    def _collect(
        self,
        step: int,
        steps: int,
        measure: Callable[[nn.Module], Iterator[tuple[str, str, float]]],
        suffix: str = "",
    ) -> None:
        with self._measuring():
            self.measurements += [
                Measurement(step / steps, step, name + suffix, value, layer)
                for name, layer, value in measure(self.network)
            ]

    @contextmanager
    def _measuring(self) -> Iterator[None]:
        """Draw apart from the training inside, and count the time."""
        started = time.perf_counter()
        with own_draws(next(self.network.parameters()).device):
            yield
        self.seconds += time.perf_counter() - started

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the measurements, and the states of the probes."""
        rows = [vars(one) for one in self.measurements]
        return {"measurements": rows, "probes": [dict(probe.state()) for probe in self.probes]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` returned."""
        self.measurements = [Measurement(**row) for row in state["measurements"]]
        self._kept = state["probes"]


def is_due(step: int, recipe: ProbesRecipe) -> bool:
    """Return whether layers and landscape are measured around the step with that index.

    These are 0, 1, 2, 4, 8, … and, from `every` on, each `every`th.
    """
    if step >= recipe.every:
        return step % recipe.every == 0
    return step & (step - 1) == 0


def _probes(bench: Bench, network: nn.Module, autocast: torch.autocast) -> list[Probe]:
    recipe = bench.recipe.probes
    switched: Iterable[tuple[bool, Callable[[], Probe]]] = (
        (recipe.layers, lambda: LayerProbe(bench)),
        (recipe.landscape, lambda: LandscapeProbe(bench)),
        (recipe.statistics, lambda: StatisticsProbe(bench, network, autocast)),
        (
            bool(recipe.precise_bn or recipe.points or bench.held_out),
            lambda: AccuracyProbe(bench, autocast),
        ),
    )
    return [build() for on, build in switched if on]
