"""Which models are served now, and how that changes while requests are answered.

    load    read ─► prove ─► swap     the old model answers until the new one has proven itself
    unload  swap                      what was accepted is still answered

A swap replaces one reference. Requests that hold the old model finish on it, and its memory goes
when the last of them is done. What fails on the way leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.bundle import BundleError
from service.catalogue import Catalogue
from service.errors import ModelRefusedError
from service.memory import release_free_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.loading import Loader
    from service.metrics import ServiceMetrics
    from service.served_model import ServedModel

logger = logging.getLogger("foldnorm")


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
    """

    def __init__(
        self,
        loader: Loader,
        metrics: ServiceMetrics,
        default: str | None,
    ) -> None:
        self._loader = loader
        self._metrics = metrics
        self._default = default
        self._changing = asyncio.Lock()
        self.adopt(self._catalogue(loader.load_all()))

    def adopt(self, catalogue: Catalogue) -> None:
        """Serve these models from now on."""
        self.catalogue = catalogue
        self._metrics.watch_queues(catalogue.models)
        release_free_memory()  # loading has left much

    async def load(self, name: str) -> None:
        """Serve a model as it is on disk now.

        Raises:
            UnknownModelError: no artefact serves a model of this name.
            BundleError: its artefact is missing, damaged or of an unknown schema.
            ModelRefusedError: it fails its proof.
        """
        async with self._changing:
            loaded = await asyncio.to_thread(self._loader.load, name)
            kept = [model for model in self.catalogue.models if model.name != name]
            self.adopt(self._catalogue([*kept, *loaded]))

    async def unload(self, name: str) -> None:
        """Serve a model no longer.

        Raises:
            UnknownModelError: no model of this name is served.
            ModelRefusedError: it is the only one.
        """
        async with self._changing:
            self.catalogue.find(name)
            served = self.catalogue.models
            kept = [model for model in served if name not in (model.name, _full_name(model))]
            self.adopt(self._catalogue(kept))

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

    def _catalogue(self, models: Sequence[ServedModel]) -> Catalogue:
        if not models:
            raise ModelRefusedError(
                "no model would be served any more; load another one before this one is unloaded"
            )
        newest_first = sorted(models, key=_version, reverse=True)
        return Catalogue(sorted(newest_first, key=lambda model: model.name), self._default)


def _full_name(model: ServedModel) -> str:
    return f"{model.name}@{model.version}"


def _version(model: ServedModel) -> tuple[int, ...]:
    return tuple(int(part) for part in model.version.split("."))
