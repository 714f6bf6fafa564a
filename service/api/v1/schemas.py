"""The shapes of the answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from models.history import EpochRecord
from models.manifest import FoldReport, GraphRecord, PackedFrom, Provenance, Variant
from models.metrics import Metrics
from models.tensors import ImageSpec, TensorSpec
from service.inference.startup_checks import StartupProof
from service.inference.tuning import Measurement


class Answer(BaseModel):
    """Base of every answer: made once, never changed."""

    model_config = ConfigDict(frozen=True)


class ModelIdentity(Answer):
    """Which network answered, and in which form."""

    name: str = Field(examples=["my-network"])
    version: str = Field(examples=["1.0.0"])
    variant: Variant


class Label(Answer):
    """One class with its probability."""

    index: int = Field(examples=[281])
    label: str = Field(examples=["tabby"])
    probability: float = Field(examples=[0.91])


class Prediction(Label):
    """The most probable class of one image, and the runners-up."""

    top: list[Label] = Field(description="The `top_k` most probable classes, best first.")


class PredictTiming(Answer):
    """Milliseconds spent in each stage; `total` runs from the first byte of the request."""

    decode: float
    queue: float
    run: float
    total: float


class PredictAnswer(Answer):
    """Answer to `POST /v1/predict`."""

    model: ModelIdentity
    predictions: list[Prediction] = Field(description="One for each image, in their order.")
    timing_ms: PredictTiming
    request_id: str


class Pixels(Answer):
    """An image as a network takes it, cut out and resized by its rule."""

    height: int
    width: int
    channels: int
    data: str = Field(description="Base64 of height * width * channels bytes, row by row.")


class ModelPredictions(Answer):
    """What one of the compared models says."""

    model: ModelIdentity
    predictions: list[Prediction]
    pixels: list[Pixels] | None = Field(
        description="What this model saw of each image; null unless `pixels=true` asks for it."
    )


class ImageComparison(Answer):
    """How far the models differ on one image."""

    agree: bool | None = Field(
        description="Whether all models put the same class first; null, as the others, where "
        "they know different classes."
    )
    js_divergence: float | None = Field(
        description="Jensen-Shannon divergence of the probabilities in bits, 0 to log2(models)."
    )
    max_logit_difference: float | None = Field(
        description="Largest difference between two models in one class's logit."
    )


class CompareTiming(Answer):
    """Milliseconds; `run` is each model's own time, alone on the same batch, by its name."""

    decode: float
    run: dict[str, float]
    total: float


class CompareAnswer(Answer):
    """Answer to `POST /v1/compare`."""

    models: list[ModelPredictions]
    images: list[ImageComparison]
    timing_ms: CompareTiming
    request_id: str


class ModelEntry(ModelIdentity):
    """A line of the catalogue."""

    title: str
    default: bool = Field(description="Whether it answers when a request names no model.")
    test_accuracy: float | None = Field(description="Null where it was not measured.")
    parameters: int
    size_bytes: int


class ModelList(Answer):
    """Answer to `GET /v1/models`."""

    models: list[ModelEntry]
    provider: str = Field(examples=["CPUExecutionProvider"])


class ModelCard(ModelIdentity):
    """Answer to `GET /v1/models/{name}`: the artifact's manifest, and what start-up showed."""

    title: str
    default: bool
    labels: tuple[str, ...]
    input: ImageSpec
    outputs: tuple[TensorSpec, ...]
    graph: GraphRecord
    fold: FoldReport | None
    metrics: Metrics | None = Field(description="Null where nothing was measured.")
    provenance: Provenance | None = Field(description="Null where Foldnorm did not train it.")
    packed: PackedFrom | None = Field(description="Where it came from then.")
    proof: StartupProof


class ModelHistory(Answer):
    """Answer to `GET /v1/models/{name}/history`: one record per epoch."""

    name: str
    version: str
    epochs: list[EpochRecord]


class TuningEntry(Answer):
    """What was measured of one model when it was loaded, and the choice that follows."""

    name: str
    version: str
    measured: tuple[Measurement, ...] = Field(
        description="In one thread, the shortest of three runs."
    )
    call_ms: float = Field(description="The a of t(n) = a + b n, fitted.")
    image_ms: float = Field(description="The b of t(n) = a + b n, fitted.")
    part_images: int = Field(
        description="Most images that run at once, on the event loop or as one thread's chunk."
    )
    gather_images: int = Field(
        description="Most images of different requests that run as one batch."
    )


class Tuning(Answer):
    """Answer to `GET /v1/tuning`."""

    cpus: int = Field(description="CPUs that the service may use.")
    workers: int
    threads: int = Field(description="Threads that share a large batch, in each worker.")
    provider: str
    provider_reason: str
    max_batch_images: int
    models: list[TuningEntry]


class OpinionRecord(Answer):
    """What one model says of an image."""

    model: str
    label: str
    probability: float


class DisagreementRecord(Answer):
    """An image that two models put into different classes."""

    time: float = Field(description="Seconds since 1970.")
    image: str = Field(description="PNG as a data URL.")
    primary: OpinionRecord
    shadow: OpinionRecord


class ShadowReport(Answer):
    """Answer to `GET /v1/shadow`."""

    fraction: float
    primary: str
    shadow: str | None = Field(description="Null where no other model is served.")
    recent: list[DisagreementRecord] = Field(description="Latest first.")
