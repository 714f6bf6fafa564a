"""Which models are served now, and how that changes while requests are answered.

    load    read ─► prove ─► swap     the old model answers until the new one has proven itself
    unload  swap                      what was accepted is still answered

A swap replaces one reference. Requests that hold the old model finish on it, and its memory goes
when the last of them is done. What fails on the way leaves everything as it was.

With several workers all of them change or none does: a `Coordinator` has every one prepare the
change before any of them makes it. A worker that replaces another serves what the others serve,
whatever else has come to disk meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from service.errors import ModelRefusedError, UnknownModelError
from service.inference.served_model import ServedModel
from service.observability.prometheus import ServiceMetrics
from service.registry.catalogue import Catalogue
from service.registry.loading import Loader
from service.system import release_free_memory

Action = Literal["load", "unload"]
MAX_NAME = 255  # characters of a name that is sent around: no folder on disk has a longer one


@dataclass(frozen=True)
class RepositoryEntry:
    """One model that could be served."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class Coordinator(Protocol):
    """Speaks for the other workers of this service."""

    async def start(self, repository: Repository) -> None:
        """Begin to carry out in this worker's repository what is decided for all workers."""

    async def change(self, action: Action, name: str) -> None:
        """Have all workers make a change, or none."""


class Repository:
    """Holds the catalogue and changes it.

    Args:
        loader: makes models of what is on disk.
        metrics: watches the queues of the models that are served.
        default: name of the default model, None to choose one.
        preferred: what the folder of artifacts prefers then, if it is served.
        served: the models to serve, each as name@version; empty for all that are on disk.
        coordinator: the other workers; None where this process is alone.
    """

    def __init__(
        self,
        loader: Loader,
        metrics: ServiceMetrics,
        default: str | None,
        preferred: str | None = None,
        served: frozenset[str] = frozenset(),
        coordinator: Coordinator | None = None,
    ) -> None:
        self._loader = loader
        self._metrics = metrics
        self._default = default
        self._preferred = preferred
        self._coordinator = coordinator
        self._changing = asyncio.Lock()
        self._prepared: Catalogue | None = None
        models = loader.load_again(served) if served else loader.load_all()
        self.adopt(self._catalogue(models))

    @property
    def served(self) -> list[str]:
        """What is served now, each model as name@version."""
        return [model.full_name for model in self.catalogue.models]

    def adopt(self, catalogue: Catalogue) -> None:
        """Serve these models from now on."""
        self.catalogue = catalogue
        self._metrics.watch_queues(
            {(model.name, model.version): model.batcher for model in catalogue.models}
        )
        release_free_memory()  # loading has left much

    async def load(self, name: str) -> None:
        """Serve a model as it is on disk now, in every worker.

        Raises:
            UnknownModelError: no artifact serves a model of this name.
            BundleError: its artifact is missing, damaged or of an unknown schema.
            ModelRefusedError: it fails its proof, here or in another worker.
        """
        await self._change("load", name)

    async def unload(self, name: str) -> None:
        """Serve a model no longer, in every worker.

        Raises:
            UnknownModelError: no model of this name is served.
            ModelRefusedError: it is the only one.
        """
        await self._change("unload", name)

    async def prepare(self, action: Action, name: str) -> None:
        """Do everything that can fail, and keep the result for `commit`."""
        served = self.catalogue.models
        if action == "unload":
            self.catalogue.find(name)
            kept = [model for model in served if name not in (model.name, model.full_name)]
            self._prepared = self._catalogue(kept)
            return
        loaded = await asyncio.to_thread(self._loader.load, name)
        kept = [model for model in served if model.name != name]
        self._prepared = self._catalogue([*kept, *loaded])

    def commit(self) -> None:
        """Make the change that was prepared."""
        assert self._prepared is not None
        self.adopt(self._prepared)
        self._prepared = None

    def abandon(self) -> None:
        """Forget the change that was prepared."""
        self._prepared = None

    def index(self) -> list[RepositoryEntry]:
        """Return every model in service, and those of every sound artifact on disk."""
        ready = {(model.name, model.version) for model in self.catalogue.models}
        on_disk = set(self._loader.names())
        return [
            RepositoryEntry(name, version, "READY", "")
            if (name, version) in ready
            else RepositoryEntry(name, version, "UNAVAILABLE", "not loaded")
            for name, version in sorted(ready | on_disk)
        ]

    async def _change(self, action: Action, name: str) -> None:
        if len(name) > MAX_NAME:
            raise UnknownModelError(
                f"the name has {len(name):,} characters; no model's has more than {MAX_NAME}"
            )
        if self._coordinator is not None:
            await self._coordinator.change(action, name)
            return
        async with self._changing:
            await self.prepare(action, name)
            self.commit()

    def _catalogue(self, models: Sequence[ServedModel]) -> Catalogue:
        if not models:
            raise ModelRefusedError(
                "no model would be served any more; load another one before this one is unloaded"
            )
        newest_first = sorted(models, key=_version, reverse=True)
        by_name = sorted(newest_first, key=lambda model: model.name)
        return Catalogue(by_name, self._default, self._preferred)


def _version(model: ServedModel) -> tuple[int, ...]:
    return tuple(int(part) for part in model.version.split("."))
