"""What an operator can set: environment variables that start with `FOLDNORM_`.

One frozen object, made once when the process starts and handed down. A variable that is not known
is an error: a misspelt limit must not be ignored in silence.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

import models
from service.system import available_cpus

PREFIX = "FOLDNORM_"
CPU = "CPUExecutionProvider"
PILLOWS_OWN_LIMIT = 178_956_970
DEFAULT_HELD_BYTES = 128 * 1024 * 1024
SHIPPED_ARTIFACTS = Path(models.__file__).resolve().parent / "artifacts"

Cuda = Literal["auto", "on", "off"]
Optimization = Literal["disable_all", "basic", "extended", "enable_all"]
LogLevel = Literal["debug", "info", "warning", "error"]
AccessLog = Literal["all", "errors", "off"]


@dataclass(frozen=True)
class Limits:
    """Bounds that are checked before the work that they bound is done."""

    max_body_bytes: int = 16 * 1024 * 1024
    max_images: int = 64
    max_pixels: int = 40_000_000  # of one image, as its header announces


class SettingsError(Exception):
    """A setting is unknown or has a value that it cannot have; the message names it."""


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: PositiveInt | Literal["auto"] = Field(
        "auto",
        description="Processes that answer, each with a socket of its own. `auto`: one for each "
        "CPU, or one alone where CUDA runs the models.",
    )
    artifacts: Path = Field(
        SHIPPED_ARTIFACTS, description="Folder of the artifacts to serve, one folder each."
    )
    default_model: str | None = Field(
        None,
        description="Model that answers when a request names none. Unset: the one that "
        "`preferences.toml` in the folder of artifacts names, else the first folded model, else "
        "the first model.",
    )
    max_body_bytes: int = Field(
        Limits.max_body_bytes, ge=1, description="Largest request body in bytes."
    )
    max_images: int = Field(Limits.max_images, ge=1, description="Most images in one request.")
    max_pixels: int = Field(
        Limits.max_pixels,
        ge=1,
        le=PILLOWS_OWN_LIMIT,
        description="Most pixels of one image, as its header announces; Pillow decodes no more "
        "than 178,956,970.",
    )
    max_requests: int = Field(
        256, ge=1, description="Most requests in progress at once; more are answered 503."
    )
    max_held_bytes: int = Field(
        DEFAULT_HELD_BYTES,
        ge=1,
        description="Most bytes of request bodies that a worker holds at once; more are answered "
        "503.",
    )
    deadline_ms: int = Field(
        10_000, ge=1, description="Longest time to an answer, reading the body included."
    )
    queue_capacity_images: int = Field(
        512, ge=1, description="Most images that wait for one model; more are answered 503."
    )
    max_batch_images: int = Field(
        64,
        ge=1,
        description="Most images of different requests that run as one batch; fewer where "
        "a worker has one CPU (`/v1/tuning`).",
    )
    threads: int = Field(
        default_factory=available_cpus,
        ge=1,
        description="Threads of a worker that share the chunks of a large batch, and threads that "
        "decode large images. Unset: the CPUs that it may use by its affinity and its control "
        "group.",
    )
    cuda: Cuda = Field(
        "auto",
        description="`auto` uses CUDA where it can be loaded, `on` refuses to start without it, "
        "`off` never looks for it.",
    )
    graph_optimization: Optimization = Field(
        "enable_all", description="How far onnxruntime rewrites a graph when it loads it."
    )
    cache_answers: int = Field(
        0,
        ge=0,
        description="Images whose scores a worker caches; 0 computes every answer anew.",
    )
    shadow_fraction: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the requests whose images another model classifies too, when "
        "nothing else is waiting; their disagreements are counted and the latest kept.",
    )
    shadow_model: str | None = Field(
        None,
        description="Model that shadows the default one. Unset: the one that "
        "`preferences.toml` in the folder of artifacts names, else the first other model.",
    )
    access_log: AccessLog = Field(
        "errors",
        description="Which requests get a log line: `all`, those answered with an error "
        "(`errors`), or none (`off`).",
    )
    log_level: LogLevel = Field("info", description="Least severe level that is logged.")
    drain_seconds: float = Field(
        20.0,
        gt=0,
        description="Longest time for requests in progress to finish after SIGTERM.",
    )

    @model_validator(mode="after")
    def _check_capacities(self) -> Self:
        if self.max_body_bytes > self.max_held_bytes:
            raise ValueError(
                f"max_body_bytes ({self.max_body_bytes}) must be at most max_held_bytes "
                f"({self.max_held_bytes}); raise the latter or lower the former"
            )
        if not self.max_images <= self.max_batch_images <= self.queue_capacity_images:
            raise ValueError(
                f"max_images ({self.max_images}) must be at most max_batch_images "
                f"({self.max_batch_images}), and that at most queue_capacity_images "
                f"({self.queue_capacity_images}); raise the later ones or lower the first"
            )
        return self

    @property
    def cpus(self) -> int:
        """Return the CPUs that this process may use."""
        return available_cpus()

    def worker_count(self, provider: str) -> int:
        """Return how many processes answer when the models run on this provider."""
        if self.workers != "auto":
            return self.workers
        return self.cpus if provider == CPU else 1

    @property
    def limits(self) -> Limits:
        """Return what one request may bring."""
        return Limits(self.max_body_bytes, self.max_images, self.max_pixels)


def load_settings(**overrides: Any) -> Settings:
    """Return the settings of this process's environment; `overrides` win over it.

    Raises:
        SettingsError: an unknown `FOLDNORM_` variable, or a value that does not fit.
    """
    _check_known(os.environ)
    try:
        return Settings(**overrides)
    except ValidationError as exc:
        raise SettingsError("; ".join(_describe(error) for error in exc.errors())) from exc


def variable_name(field: str) -> str:
    """Return the environment variable that sets a field."""
    return PREFIX + field.upper()


def _check_known(variables: Iterable[str]) -> None:
    known = [variable_name(field) for field in Settings.model_fields]
    for variable in sorted(variables):
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            nearest = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.0)[0]
            raise SettingsError(f"unknown setting {variable}; did you mean {nearest}?")


def _describe(error: Any) -> str:
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    variable = variable_name(str(error["loc"][0]))
    return f"{variable}={error['input']!r} does not fit: {error['msg']}"
