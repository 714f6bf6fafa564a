"""Which models are served, and under which names.

An artifact `cats` 1.1.0 is served as `cats` and `cats@1.1.0`, its graph before folding as
`cats-unfolded` and `cats-unfolded@1.1.0`, its quantized one as `cats-int8` and `cats-int8@1.1.0`.
A name without a version means the newest.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.bundle import Bundle
from models.manifest import Variant
from service.errors import ModelRefusedError, UnknownModelError
from service.inference.served_model import ServedModel


class Catalogue:
    """Finds served models by name; they are given newest version first.

    Args:
        models: those that are served.
        default: the model that answers when a request names none; None to choose one.
        preferred: what the folder of artifacts prefers then, if it is served.

    Raises:
        ModelRefusedError: two models would have one name, or the default is not served.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        default: str | None = None,
        preferred: str | None = None,
    ) -> None:
        self.models = tuple(models)
        self._by_name: dict[str, ServedModel] = {}
        for model in models:
            if model.full_name in self._by_name:
                raise ModelRefusedError(
                    f"two artifacts are served as {model.full_name}; rename one"
                )
            self._by_name[model.full_name] = model
            self._by_name.setdefault(model.name, model)
        self.default = self._choose_default(default, preferred)

    @property
    def newest(self) -> tuple[ServedModel, ...]:
        """Every model in its newest version."""
        return tuple(model for model in self.models if self._by_name[model.name] is model)

    @property
    def newest_bundles(self) -> list[Bundle]:
        """Every artifact in its newest version, once for all its graphs."""
        return list({model.bundle.path: model.bundle for model in self.newest}.values())

    def find(self, name: str | None) -> ServedModel:
        """Return the model of a name, the default model for none.

        Raises:
            UnknownModelError: no model has this name.
        """
        if name is None:
            return self.default
        if name not in self._by_name:
            served = ", ".join(model.name for model in self.newest)
            raise UnknownModelError(
                f"no model {_shorten(name)!r} is served; served are {served}, and any of them as "
                "name@version"
            )
        return self._by_name[name]

    def find_all(self, names: str | None) -> tuple[ServedModel, ...]:
        """Return the models of comma-separated names, each once.

        For none the newest of all that know the default model's classes.
        """
        if names is None:
            labels = self.default.labels
            return tuple(model for model in self.newest if model.labels == labels)
        found = [self.find(name.strip()) for name in names.split(",")]
        return tuple(dict.fromkeys(found))

    def call_name(self, model: ServedModel) -> str:
        """Return the shortest name that means this model."""
        if self._by_name[model.name] is model:
            return model.name
        return model.full_name

    def _choose_default(self, name: str | None, preferred: str | None) -> ServedModel:
        if name is not None:
            if name not in self._by_name:
                raise ModelRefusedError(
                    f"FOLDNORM_DEFAULT_MODEL={name!r} is not served; served are "
                    f"{', '.join(self._by_name)}"
                )
            return self._by_name[name]
        if preferred in self._by_name:
            return self._by_name[preferred]
        folded = [model for model in self.models if model.variant == "folded"]
        return (folded or list(self.models))[0]


def served_variants(bundle: Bundle) -> list[tuple[str, Variant]]:
    """Return the served name and the variant of each graph of an artifact."""
    names: list[tuple[str, Variant]] = [(bundle.name, bundle.served_variant)]
    others: tuple[Variant, ...] = ("unfolded", "int8")
    names += [(f"{bundle.name}-{v}", v) for v in others if v in bundle.manifest.graphs]
    return names


def _shorten(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:79]}…"
