"""What is served changes as a whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from service.errors import ModelRefusedError, UnknownModelError
from service.inference.served_model import ServedModel
from service.observability.prometheus import ServiceMetrics
from service.registry.repository import MAX_NAME, Repository

MakeModel = Callable[..., ServedModel]


class Disk:
    """A loader of models that are name@version, made anew each time as from a real disk."""

    def __init__(self, make_model: MakeModel, *names: str) -> None:
        self._make_model = make_model
        self.content = list(names)
        self.damage: Exception | None = None
        self.loaded: list[str] = []

    def _make(self, full_name: str) -> ServedModel:
        name, _, version = full_name.partition("@")
        return self._make_model(name, version=version)

    def load_all(self) -> list[ServedModel]:
        return [self._make(one) for one in self.content]

    def load(self, wanted: str) -> list[ServedModel]:
        self.loaded.append(wanted)
        if self.damage is not None:
            raise self.damage
        found = [self._make(one) for one in self.content if one.partition("@")[0] == wanted]
        if not found:
            raise UnknownModelError(f"no artifact serves a model {wanted!r}")
        return found

    def load_again(self, served: frozenset[str]) -> list[ServedModel]:
        if missing := served - set(self.content):
            raise ModelRefusedError(f"{', '.join(missing)} is not on disk any more")
        return [self._make(one) for one in self.content if one in served]

    def names(self) -> list[tuple[str, str]]:
        return [
            (name, version) for name, _, version in (one.partition("@") for one in self.content)
        ]


class Coordinator:
    """Writes down what it is asked to have all workers do."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def change(self, action: str, name: str) -> None:
        self.asked.append((action, name))


@pytest.fixture
def disk(make_model: MakeModel) -> Disk:
    return Disk(make_model, "a@1.0.0", "b@1.0.0", "b@1.10.0", "b@1.9.0")


def served_from(disk: Disk, default: str | None = None, **options: object) -> Repository:
    return Repository(disk, ServiceMetrics(), default, **options)


def test_everything_on_disk_is_served_the_newest_of_a_name_first(disk: Disk) -> None:
    repository = served_from(disk)
    assert repository.served == ["a@1.0.0", "b@1.10.0", "b@1.9.0", "b@1.0.0"]
    assert repository.catalogue.find("b").version == "1.10.0"


def test_loading_serves_what_is_on_disk_now_and_keeps_all_others(disk: Disk) -> None:
    repository = served_from(disk)
    kept = repository.catalogue.find("a")
    disk.content = ["a@2.0.0", "b@1.10.0", "b@3.0.0"]
    asyncio.run(repository.load("b"))
    assert repository.served == ["a@1.0.0", "b@3.0.0", "b@1.10.0"]
    assert repository.catalogue.find("a") is kept


def test_loading_replaces_a_version_that_is_served_already(disk: Disk) -> None:
    repository = served_from(disk)
    before = repository.catalogue.find("a")
    asyncio.run(repository.load("a"))
    assert repository.catalogue.find("a") is not before


@pytest.mark.parametrize(
    "damage", [ModelRefusedError("golden logits are off"), OSError("the disk is gone")]
)
def test_what_fails_leaves_everything_as_it_was(disk: Disk, damage: Exception) -> None:
    repository = served_from(disk)
    before = repository.catalogue
    disk.damage = damage
    with pytest.raises(type(damage), match=str(damage)):
        asyncio.run(repository.load("b"))
    assert repository.catalogue is before
    disk.damage = None
    asyncio.run(repository.load("b"))
    assert repository.catalogue is not before


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("b", ["a@1.0.0"]),
        ("b@1.9.0", ["a@1.0.0", "b@1.10.0", "b@1.0.0"]),
        ("b@1.10.0", ["a@1.0.0", "b@1.9.0", "b@1.0.0"]),
        ("a", ["b@1.10.0", "b@1.9.0", "b@1.0.0"]),
    ],
)
def test_a_model_is_unloaded_in_all_versions_or_in_one(
    disk: Disk, name: str, left: list[str]
) -> None:
    repository = served_from(disk)
    asyncio.run(repository.unload(name))
    assert repository.served == left


@pytest.mark.parametrize(
    ("default", "name", "reason"),
    [
        (None, "nobody", r"no model 'nobody' is served; served are a, b"),
        ("a", "a", r"FOLDNORM_DEFAULT_MODEL='a' is not served"),
        ("b@1.9.0", "b", r"FOLDNORM_DEFAULT_MODEL='b@1\.9\.0' is not served"),
    ],
)
def test_what_must_be_served_is_not_unloaded(
    disk: Disk, default: str | None, name: str, reason: str
) -> None:
    repository = served_from(disk, default)
    before = repository.catalogue
    with pytest.raises((UnknownModelError, ModelRefusedError), match=reason):
        asyncio.run(repository.unload(name))
    assert repository.catalogue is before


def test_the_last_model_is_not_unloaded(make_model: MakeModel) -> None:
    repository = served_from(Disk(make_model, "a@1.0.0"))
    with pytest.raises(ModelRefusedError, match="load another one before this one is unloaded"):
        asyncio.run(repository.unload("a"))
    assert repository.served == ["a@1.0.0"]


async def test_two_changes_at_once_are_both_made(disk: Disk) -> None:
    repository = served_from(disk)
    disk.content = ["a@2.0.0", "b@2.0.0"]

    await asyncio.gather(repository.load("a"), repository.load("b"))
    assert repository.served == ["a@2.0.0", "b@2.0.0"]


def test_a_change_that_is_prepared_is_not_made_yet(disk: Disk) -> None:
    repository = served_from(disk)
    asyncio.run(repository.prepare("unload", "a"))
    assert "a@1.0.0" in repository.served
    repository.commit()
    assert "a@1.0.0" not in repository.served


def test_a_change_that_is_abandoned_cannot_be_made_any_more(disk: Disk) -> None:
    repository = served_from(disk)
    asyncio.run(repository.prepare("unload", "a"))
    repository.abandon()
    with pytest.raises(AssertionError):
        repository.commit()
    assert "a@1.0.0" in repository.served


def test_with_other_workers_a_change_is_asked_of_all(disk: Disk) -> None:
    coordinator = Coordinator()
    repository = served_from(disk, coordinator=coordinator)
    asyncio.run(repository.load("a"))
    asyncio.run(repository.unload("b"))
    assert coordinator.asked == [("load", "a"), ("unload", "b")]
    assert disk.loaded == []
    assert "b@1.10.0" in repository.served


@pytest.mark.parametrize("change", ["load", "unload"])
def test_a_name_that_none_can_have_is_sent_to_nobody(disk: Disk, change: str) -> None:
    coordinator = Coordinator()
    repository = served_from(disk, coordinator=coordinator)
    with pytest.raises(UnknownModelError, match=r"the name has 256 characters; .* more than 255"):
        asyncio.run(getattr(repository, change)("x" * (MAX_NAME + 1)))
    assert coordinator.asked == []
    asyncio.run(getattr(repository, change)("x" * MAX_NAME))
    assert len(coordinator.asked) == 1


def test_a_worker_that_replaces_another_serves_what_the_others_do(disk: Disk) -> None:
    """Not what has come to disk meanwhile, and not what was unloaded."""
    others = frozenset({"b@1.9.0", "b@1.0.0"})
    assert served_from(disk, served=others).served == ["b@1.9.0", "b@1.0.0"]


def test_the_index_has_what_is_served_and_what_could_be(disk: Disk) -> None:
    repository = served_from(disk)
    asyncio.run(repository.unload("b@1.9.0"))
    disk.content.remove("a@1.0.0")
    states = {f"{one.name}@{one.version}": one.state for one in repository.index()}
    assert states == {
        "a@1.0.0": "READY",  # still answers, though it is on disk no more
        "b@1.0.0": "READY",
        "b@1.10.0": "READY",
        "b@1.9.0": "UNAVAILABLE",
    }


def test_only_the_queues_of_what_is_served_are_watched(disk: Disk) -> None:
    metrics = ServiceMetrics()
    repository = Repository(disk, metrics, None)

    def queued(name: str) -> float:
        metrics.sample()
        labels = {"model": name, "version": "1.0.0"}
        return metrics.registry.get_sample_value("foldnorm_queue_images", labels)

    for name in ("a", "b@1.0.0"):
        repository.catalogue.find(name).batcher.queued_size = 7
    assert (queued("a"), queued("b")) == (7, 7)
    asyncio.run(repository.unload("a"))
    assert (queued("a"), queued("b")) == (0, 7)
