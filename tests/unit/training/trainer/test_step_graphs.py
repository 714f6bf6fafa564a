"""When steps are captured and replayed, with a graph of our own in CUDA's place; and on a GPU."""

from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from tests.small_runs import Observer, random_split
from training.recipes import load_recipe
from training.trainer import step_graphs
from training.trainer.loop import TrainingRun
from training.trainer.step_graphs import WARM_UP, StepGraphs


class Graph:
    """Captures what the body calls for, and does it again on replay."""

    captured: ClassVar[list["Graph"]] = []

    def __init__(self):
        self.registered, self.replays = [], 0
        Graph.captured.append(self)

    def register_generator_state(self, generator):
        self.registered.append(generator)

    def replay(self):
        self.replays += 1


@pytest.fixture
def steps(monkeypatch):
    """Return steps whose body notes the indices and sides that it is called with."""

    @contextmanager
    def capture(_graph):
        yield

    Graph.captured = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    calls = []

    def body(indices, side):
        calls.append((indices, side))
        return torch.tensor(float(len(calls)))

    return step_graphs.StepGraphs(body, torch.Generator()), calls


def test_first_steps_run_as_they_are_then_one_is_captured_and_replayed(steps):
    take, calls = steps
    for number in range(WARM_UP + 4):
        take(torch.tensor([number, number + 1]), 32)
    assert len(calls) == WARM_UP + 1  # capturing calls the body once, replaying never
    (graph,) = Graph.captured
    assert graph.replays == 4
    assert graph.registered == [take.generator]
    held, _side = calls[-1]
    assert held.tolist() == [WARM_UP + 3, WARM_UP + 4]  # the last step's indices were copied in


def test_each_batch_size_and_side_has_a_graph_of_its_own_and_a_short_last_batch_none(steps):
    take, calls = steps
    for _ in range(WARM_UP + 1):
        take(torch.arange(4), 24)
        take(torch.arange(4), 32)
    loss = take(torch.arange(3), 32)
    assert len(Graph.captured) == 2
    assert [graph.replays for graph in Graph.captured] == [1, 1]
    assert calls[-1][0].tolist() == [0, 1, 2]
    assert loss == len(calls)


def test_nothing_is_captured_on_a_cpu():
    assert not TrainingRun(load_recipe("keras-bn"), 0, torch.device("cpu")).captures


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", ["keras-bn", "keras-baseline"])
def test_captured_steps_leave_the_same_weights(name):
    device, recipe = torch.device("cuda"), replace(load_recipe(name), epochs=2)
    torch.backends.cudnn.deterministic = True
    weights = []
    for captures in (True, False):
        run = TrainingRun(recipe, 0, device)
        assert run.captures
        run.captures = captures
        data = [split_on(device, *sizes) for sizes in ((330, 0), (40, 1))]
        run.prepare(*data)
        while not run.finished:
            run.train_epoch(*data, Observer())
        weights.append(run.network.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def split_on(device, count, seed):
    split = random_split(count, seed)
    return replace(split, images=split.images.to(device), labels=split.labels.to(device))


def test_steps_are_the_body_s_own_until_then(steps):
    take, calls = steps
    assert isinstance(take, StepGraphs)
    assert [take(torch.arange(2), 8).item() for _ in range(WARM_UP)] == [1.0, 2.0, 3.0]
    assert [side for _, side in calls] == [8] * WARM_UP
