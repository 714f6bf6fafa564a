"""From a folder of artefacts to proven models; a failure here keeps the process from starting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.bundle import load_catalogue
from service.batcher import Batcher
from service.catalogue import Catalogue, served_variants
from service.errors import ModelRefusedError
from service.proofs import check_graph, prove_answers
from service.served_model import BatchRunner, ServedModel
from service.session import OrtSession

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from models.bundle import Bundle
    from models.manifest import Variant
    from service.metrics import ServiceMetrics
    from service.providers import Provider
    from service.settings import Settings


def load_models(
    settings: Settings, provider: Provider, executor: Executor, metrics: ServiceMetrics
) -> Catalogue:
    """Return every model of the artefacts' folder, each with its start-up proof.

    Raises:
        BundleError: an artefact is missing, damaged or of an unknown schema.
        ModelRefusedError: a model fails its proof.
    """
    models = []
    for bundle in load_catalogue(settings.artifacts):
        bundle.verify()
        for name, variant in served_variants(bundle):
            model = _load_model(bundle, name, variant, settings, provider, executor, metrics)
            metrics.watch_queue(name, bundle.version, model.batcher)
            models.append(model)
    return Catalogue(models, settings.default_model)


def _load_model(
    bundle: Bundle,
    name: str,
    variant: Variant,
    settings: Settings,
    provider: Provider,
    executor: Executor,
    metrics: ServiceMetrics,
) -> ServedModel:
    graph, golden = bundle.read_graph(variant), bundle.read_golden()
    try:
        check_graph(graph)
        session = OrtSession(
            graph,
            provider=provider,
            threads=settings.threads,
            optimization=settings.graph_optimization,
        )
        proof = prove_answers(session, golden)
    except ModelRefusedError as exc:
        file = bundle.path / bundle.manifest.graphs[variant].file
        raise ModelRefusedError(f"{name} {bundle.version} ({file}) is refused: {exc}") from exc
    return ServedModel(
        name=name,
        variant=variant,
        bundle=bundle,
        golden=golden,
        history=bundle.read_history(),
        session=session,
        proof=proof,
        batcher=Batcher(
            BatchRunner(session, executor, metrics.batch_observer(name, bundle.version)),
            capacity=settings.queue_capacity_images,
            max_batch=settings.max_batch_images,
        ),
    )
