"""From a folder of artifacts to proven models; what fails its start-up checks is not served."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.bundle import Bundle, BundleError, load_catalogue, scan_catalogue
from models.manifest import Variant
from service.errors import ModelRefusedError, UnknownModelError
from service.inference.batcher import Batcher
from service.inference.engine import Engine
from service.inference.providers import CPU, Provider
from service.inference.served_model import BatchRunner, ServedModel
from service.inference.session import OrtSession
from service.inference.startup_checks import StartupProof, check_graph, prove_answers
from service.inference.tuning import tune
from service.observability.prometheus import ServiceMetrics
from service.registry.catalogue import served_variants
from service.settings import Optimization, Settings

logger = logging.getLogger("foldnorm")


@dataclass(frozen=True)
class _Served:
    """One graph of an artifact, and the name that it is served under."""

    bundle: Bundle
    name: str
    variant: Variant

    @property
    def full_name(self) -> str:
        return f"{self.name}@{self.bundle.version}"


@dataclass(frozen=True)
class Loader:
    """Makes served models of the artifacts in the settings' folder, as they are now on disk."""

    settings: Settings
    provider: Provider
    engine: Engine
    metrics: ServiceMetrics

    def load_all(self) -> list[ServedModel]:
        """Return every model of every artifact, each with its start-up checks.

        Raises:
            BundleError: an artifact is missing, damaged or of an unknown schema.
            ModelRefusedError: a model fails its checks.
        """
        return self._load_each(_served(load_catalogue(self.settings.artifacts)))

    def load(self, name: str) -> list[ServedModel]:
        """Return every version of the model of one served name, whatever else is on disk.

        Raises:
            UnknownModelError: no artifact serves a model of this name.
            BundleError: its artifact is damaged or of an unknown schema.
            ModelRefusedError: it fails its checks.
        """
        bundles, broken = self._scan()
        artifacts = {name, name.removesuffix("-unfolded"), name.removesuffix("-int8")}
        for path, error in broken.items():
            if path.name.rpartition("-")[0] in artifacts:  # a folder is NAME-VERSION
                raise error
        found = [one for one in _served(bundles) if one.name == name]
        if not found:
            raise UnknownModelError(
                f"no artifact in {self.settings.artifacts} serves a model {name[:80]!r}"
                f"{_reasons(broken)}"
            )
        return self._load_each(found)

    def load_again(self, served: frozenset[str]) -> list[ServedModel]:
        """Return the models of these names, each as name@version, whatever else is on disk.

        Raises:
            BundleError: one of them is damaged.
            ModelRefusedError: one of them is on disk no more, or fails its checks.
        """
        bundles, broken = self._scan()
        found = [one for one in _served(bundles) if one.full_name in served]
        if missing := served - {one.full_name for one in found}:
            raise ModelRefusedError(
                f"{', '.join(sorted(missing))} is served by the other workers and is not on disk "
                f"any more; put it back, or unload it{_reasons(broken)}"
            )
        return self._load_each(found)

    def names(self) -> list[tuple[str, str]]:
        """Return name and version of every model that the sound artifacts on disk hold."""
        bundles, _ = self._scan()
        return [(one.name, one.bundle.version) for one in _served(bundles)]

    def _scan(self) -> tuple[list[Bundle], dict[Path, BundleError]]:
        """Return the artifacts on disk; log those that are broken."""
        bundles, broken = scan_catalogue(self.settings.artifacts)
        for error in broken.values():
            fields = {"reason": str(error)}
            logger.warning("an artifact is broken and passed over", extra={"fields": fields})
        return bundles, broken

    def _load_each(self, found: list[_Served]) -> list[ServedModel]:
        for bundle in {one.bundle.path: one.bundle for one in found}.values():
            bundle.verify()
        return [self._load(one.bundle, one.name, one.variant) for one in found]

    def _load(self, bundle: Bundle, name: str, variant: Variant) -> ServedModel:
        session, proof = open_session(
            bundle, name, variant, self.provider, self.settings.graph_optimization
        )
        workers = self.settings.worker_count(self.provider.name)
        tuning = tune(
            session,
            bundle.manifest.input.image_shape,
            max_batch_size=self.settings.max_batch_images,
            has_cpus_to_itself=workers < self.settings.cpus,
            clock=time.thread_time if self.provider.name == CPU else time.perf_counter,
        )
        metrics = self.metrics.of_model(name, bundle.version)
        batcher = Batcher(
            BatchRunner(session, self.engine, metrics, tuning.chunk_size),
            capacity=self.settings.queue_capacity_images,
            max_batch_size=tuning.max_batch_size,
        )
        return ServedModel(
            name=name,
            variant=variant,
            bundle=bundle,
            golden=bundle.read_golden(variant),
            history=bundle.read_history(),
            session=session,
            proof=proof,
            tuning=tuning,
            batcher=batcher,
            metrics=metrics,
        )


def open_session(
    bundle: Bundle,
    name: str,
    variant: Variant,
    provider: Provider,
    optimization: Optimization,
) -> tuple[OrtSession, StartupProof]:
    """Return a graph of an artifact, ready to run, and what its start-up checks measured.

    Raises:
        BundleError: a file is missing or damaged.
        ModelRefusedError: the graph fails its checks.
    """
    manifest = bundle.manifest
    graph, golden = bundle.read_graph(variant), bundle.read_golden(variant)
    try:
        check_graph(graph)
        session = OrtSession(
            graph,
            spec=manifest.input,
            classes=len(manifest.labels),
            provider=provider,
            optimization=optimization,
        )
        return session, prove_answers(session, golden)
    except ModelRefusedError as exc:
        file = bundle.path / manifest.graphs[variant].file
        raise ModelRefusedError(f"{name} {bundle.version} ({file}) is refused: {exc}") from exc


def _served(bundles: Sequence[Bundle]) -> list[_Served]:
    return [
        _Served(bundle, name, variant)
        for bundle in bundles
        for name, variant in served_variants(bundle)
    ]


def _reasons(broken: Mapping[Path, BundleError]) -> str:
    return "".join(f"; broken: {error}" for error in broken.values())[:1000]
