"""From a folder of artifacts to proven models; what fails its start-up checks is not served."""

from __future__ import annotations

import time
from dataclasses import dataclass

from models.bundle import Bundle, load_catalogue
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


@dataclass(frozen=True)
class Loader:
    """Makes served models of the artifacts in the settings' folder, as they are now on disk."""

    settings: Settings
    provider: Provider
    engine: Engine
    metrics: ServiceMetrics

    def load_all(self) -> list[ServedModel]:
        """Return every model of every artifact, each with its start-up proof.

        Raises:
            BundleError: an artifact is missing, damaged or of an unknown schema.
            ModelRefusedError: a model fails its proof.
        """
        return [
            self._load(bundle, name, variant)
            for bundle in self._verified_bundles()
            for name, variant in served_variants(bundle)
        ]

    def load(self, wanted: str) -> list[ServedModel]:
        """Return every version of the model of one served name.

        Raises:
            UnknownModelError: no artifact serves a model of this name.
            BundleError: an artifact is missing, damaged or of an unknown schema.
            ModelRefusedError: a model fails its proof.
        """
        bundles = [
            (bundle, name, variant)
            for bundle in load_catalogue(self.settings.artifacts)
            for name, variant in served_variants(bundle)
            if name == wanted
        ]
        if not bundles:
            raise UnknownModelError(
                f"no artifact in {self.settings.artifacts} serves a model {wanted[:80]!r}"
            )
        for bundle, _, _ in bundles:
            bundle.verify()
        return [self._load(*found) for found in bundles]

    def names(self) -> list[tuple[str, str]]:
        """Return name and version of every model that the artifacts on disk hold.

        Raises:
            BundleError: an artifact is missing, damaged or of an unknown schema.
        """
        return [
            (name, bundle.version)
            for bundle in load_catalogue(self.settings.artifacts)
            for name, _ in served_variants(bundle)
        ]

    def _verified_bundles(self) -> list[Bundle]:
        bundles = load_catalogue(self.settings.artifacts)
        for bundle in bundles:
            bundle.verify()
        return bundles

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
            max_batch=tuning.max_batch_size,
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
