"""The systems that are measured, and the loads they are measured under, as data.

- `ceiling`: decode and run in process, image by image, one process per core
- `ceiling-4`: the same, four images per run
- `naive-1`, `naive-2`: a tutorial's FastAPI app with one and with two uvicorn workers
- `litserve`: LitServe with the settings that were fastest in this run
- `ours`: foldnorm-serve
- `ours-int8`: foldnorm-serve, asked for the quantized variant
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks.rig.server import ROOT
from models.bundle import load_catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.rig.bodies import BodyKind

Job = Literal["png", "arrays"]

MODEL_NAME = "keras-bn"
BENCH_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
SERVE = str(Path(sys.executable).parent / "foldnorm-serve")


@dataclass(frozen=True)
class Load:
    """How many connections ask for what."""

    name: str
    job: Job
    connections: int
    images: int  # per request


LOADS = (
    Load("png-1", "png", connections=1, images=1),
    Load("png-16", "png", connections=16, images=1),
    Load("png-64", "png", connections=64, images=1),
    Load("arrays-64x4", "arrays", connections=4, images=64),
)


@dataclass(frozen=True)
class Route:
    """Where a job is sent, and in which form."""

    path: str
    body: BodyKind


@dataclass(frozen=True)
class System:
    """A server, or with `images_per_run` the in-process ceiling, which is none.

    `needs` are files without which it is left out; `loads` restricts it to some.
    """

    name: str
    graph: Path
    command: tuple[str, ...]
    routes: Mapping[Job, Route] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[Path, ...] = ()
    loads: tuple[str, ...] = tuple(load.name for load in LOADS)
    images_per_run: int = 0

    def missing(self) -> str | None:
        """Return why it cannot be measured here, or None."""
        absent = [path for path in self.needs if not path.exists()]
        return f"{absent[0].relative_to(ROOT)} does not exist" if absent else None


@dataclass(frozen=True)
class LitServeSettings:
    """What can be tuned of LitServe."""

    workers: int
    threads: int
    api_servers: int
    max_batch: int
    batch_timeout_s: float
    fast_queue: bool

    def arguments(self) -> tuple[str, ...]:
        """Return them as the app's arguments."""
        options = {
            "--workers": self.workers,
            "--threads": self.threads,
            "--api-servers": self.api_servers,
            "--max-batch": self.max_batch,
            "--batch-timeout": self.batch_timeout_s,
        }
        words = [word for name, value in options.items() for word in (name, str(value))]
        return (*words, *(["--fast-queue"] if self.fast_queue else []))


LITSERVE_CANDIDATES = (
    LitServeSettings(1, 1, 1, 16, 0.001, fast_queue=False),
    LitServeSettings(1, 2, 1, 16, 0.001, fast_queue=False),
    LitServeSettings(2, 1, 1, 16, 0.001, fast_queue=False),
    LitServeSettings(2, 1, 2, 16, 0.001, fast_queue=False),
    LitServeSettings(1, 1, 2, 16, 0.001, fast_queue=False),
    LitServeSettings(1, 1, 1, 32, 0.005, fast_queue=False),
    LitServeSettings(1, 1, 1, 16, 0.001, fast_queue=True),
    LitServeSettings(2, 1, 2, 16, 0.001, fast_queue=True),
)


def served_artifact() -> Path:
    """Return the folder of the latest release of the network that all systems serve."""
    catalogue = load_catalogue(ROOT / "models" / "artifacts")  # newest first
    return next(bundle.path for bundle in catalogue if bundle.name == MODEL_NAME)


def systems(
    serve_arguments: Sequence[str] = ("--workers", "auto"), earlier: str | None = None
) -> tuple[System, ...]:
    """Return every system; `serve_arguments` are given to foldnorm-serve.

    `earlier` is another commit's foldnorm-serve, which then is the system of that name.
    """
    folder = served_artifact()
    graph, int8 = folder / "model.onnx", folder / "model.int8.onnx"
    other = [ours("earlier", graph, MODEL_NAME, serve_arguments, earlier)] if earlier else []
    return (
        _ceiling("ceiling", graph, 1),
        _ceiling("ceiling-4", graph, 4),
        _naive(graph, workers=1),
        _naive(graph, workers=2),
        litserve(graph, LITSERVE_CANDIDATES[0]),
        ours("ours", graph, MODEL_NAME, serve_arguments),
        ours("ours-int8", int8, f"{MODEL_NAME}-int8", serve_arguments),
        *other,
    )


def ours(
    name: str, graph: Path, model: str, arguments: Sequence[str], serve: str = SERVE
) -> System:
    """Return foldnorm-serve, asked for one model by name."""
    routes: dict[Job, Route] = {
        "png": Route(f"/v1/predict?model={model}", "png"),
        "arrays": Route(f"/v2/models/{model}/infer", "v2"),
    }
    command = (serve, "--port", "{port}", *arguments)
    return System(name, graph, command, routes, needs=(graph,))


def litserve(graph: Path, settings: LitServeSettings) -> System:
    """Return LitServe with some settings."""
    module = ("-m", "benchmarks.serving_peers.litserve_app", "--port", "{port}")
    command = (str(BENCH_PYTHON), *module, *settings.arguments())
    routes, environment = _peer_routes("/predict"), {"MODEL": str(graph)}
    return System("litserve", graph, command, routes, environment, (BENCH_PYTHON,))


def _naive(graph: Path, workers: int) -> System:
    """Return the tutorial's app; its access log is off, which only helps it."""
    app = ("-m", "uvicorn", "benchmarks.serving_peers.naive:app", "--no-access-log")
    command = (sys.executable, *app, "--port", "{port}", "--workers", str(workers))
    routes, environment = _peer_routes("/predict-arrays"), {"MODEL": str(graph)}
    return System(f"naive-{workers}", graph, command, routes, environment)


def _ceiling(name: str, graph: Path, images_per_run: int) -> System:
    command = (sys.executable, "-m", "benchmarks.serving_peers.ceiling", "--model", str(graph))
    every = tuple(load.name for load in LOADS)
    loads = every if images_per_run == 1 else ("png-64",)
    return System(name, graph, command, loads=loads, images_per_run=images_per_run)


def _peer_routes(arrays: str) -> dict[Job, Route]:
    return {"png": Route("/predict", "png"), "arrays": Route(arrays, "uint8")}
