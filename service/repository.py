"""Which models are served now, and how that changes while requests are answered.

    load    read ─► prove ─► swap     the old model answers until the new one has proven itself
    unload  swap                      what was accepted is still answered

A swap replaces one reference. Requests that hold the old model finish on it, and its memory goes
when the last of them is done. What fails on the way leaves everything as it was.

With several workers a change is made by new ones, which take over (`service.rollout`). A worker
that replaces one that died serves what its siblings serve, whatever else has come to disk
meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.bundle import BundleError
from service.catalogue import Catalogue
from service.errors import ModelRefusedError, UnknownModelError
from service.memory import release_free_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.control import Coordinator
    from service.loading import Loader
    from service.metrics import ServiceMetrics
    from service.rollout import Action, Order
    from service.served_model import ServedModel

logger = logging.getLogger("foldnorm")

LONGEST_NAME = 255  # characters of a name that is sent around: no folder on disk has a longer one


@dataclass(frozen=True)
class RepositoryEntry:
    """One model that could be served."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class Repository:
    """Holds the catalogue and changes it.

    Args:
        loader: makes models of what is on disk.
        metrics: watches the queues of the models that are served.
        default: name of the default model, None to choose one.
        order: the models to serve; none for all that are on disk.
        coordinator: the other workers; None where this process is alone.
    """

    def __init__(
        self,
        loader: Loader,
        metrics: ServiceMetrics,
        default: str | None,
        order: Order,
        coordinator: Coordinator | None = None,
    ) -> None:
        self._loader = loader
        self._metrics = metrics
        self._default = default
        self._coordinator = coordinator
        self._changing = asyncio.Lock()
        self.adopt(self._catalogue(_ordered(loader, order)))

    @property
    def served(self) -> list[str]:
        """What is served now, each model as name@version."""
        return [_full_name(model) for model in self.catalogue.models]

    def adopt(self, catalogue: Catalogue) -> None:
        """Serve these models from now on."""
        self.catalogue = catalogue
        self._metrics.watch_queues(catalogue.models)
        release_free_memory()  # loading has left much

    async def load(self, name: str) -> None:
        """Serve a model as it is on disk now, in every worker.

        Raises:
            UnknownModelError: no artefact serves a model of this name.
            BundleError: its artefact is missing, damaged or of an unknown schema.
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

    def index(self) -> list[RepositoryEntry]:
        """Return every model on disk or in service; only these where the folder is damaged."""
        ready = {(model.name, model.version) for model in self.catalogue.models}
        on_disk: set[tuple[str, str]] = set()
        try:
            on_disk = set(self._loader.names())
        except BundleError as error:
            logger.warning("not every artefact is listed", extra={"fields": {"reason": str(error)}})
        return [
            RepositoryEntry(name, version, "READY", "")
            if (name, version) in ready
            else RepositoryEntry(name, version, "UNAVAILABLE", "not loaded")
            for name, version in sorted(ready | on_disk)
        ]

    async def _change(self, action: Action, name: str) -> None:
        if len(name) > LONGEST_NAME:
            raise UnknownModelError(
                f"the name has {len(name):,} characters; no model's has more than {LONGEST_NAME}"
            )
        if self._coordinator is not None:
            if action == "unload":
                self._without(name)  # what is refused needs no new workers
            await self._coordinator.change(action, name)
            return
        async with self._changing:
            if action == "unload":
                self.adopt(self._without(name))
                return
            loaded = await asyncio.to_thread(self._loader.load, name)
            kept = [model for model in self.catalogue.models if model.name != name]
            self.adopt(self._catalogue([*kept, *loaded]))

    def _without(self, name: str) -> Catalogue:
        self.catalogue.find(name)
        served = self.catalogue.models
        return self._catalogue([one for one in served if name not in (one.name, _full_name(one))])

    def _catalogue(self, models: Sequence[ServedModel]) -> Catalogue:
        if not models:
            raise ModelRefusedError(
                "no model would be served any more; load another one before this one is unloaded"
            )
        newest_first = sorted(models, key=_version, reverse=True)
        return Catalogue(sorted(newest_first, key=lambda model: model.name), self._default)


def _ordered(loader: Loader, order: Order) -> list[ServedModel]:
    """Return the models that a worker shall serve, after the change that it shall make."""
    if order.change is None:
        return _load_again(loader, order.served) if order.served else loader.load_all()
    action, changed = order.change
    loaded = loader.load(changed) if action == "load" else []
    kept = {full for full in order.served if changed not in (full, full.rpartition("@")[0])}
    return [*loaded, *_load_again(loader, frozenset(kept))]


def _load_again(loader: Loader, served: frozenset[str]) -> list[ServedModel]:
    names = sorted({full_name.rpartition("@")[0] for full_name in served})
    found = [model for name in names for model in loader.load(name)]
    models = [model for model in found if _full_name(model) in served]
    if missing := served - {_full_name(model) for model in models}:
        raise ModelRefusedError(
            f"{', '.join(sorted(missing))} is served by the other workers and is not on disk any "
            "more; put it back, or unload it"
        )
    return models


def _full_name(model: ServedModel) -> str:
    return f"{model.name}@{model.version}"


def _version(model: ServedModel) -> tuple[int, ...]:
    return tuple(int(part) for part in model.version.split("."))
