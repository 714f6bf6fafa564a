"""A network class of one's own: `architecture = "my_package.nets:build"` in a recipe.

The function is called with the recipe's options and `num_classes`, and with `image_shape`,
(H, W, C) in pixels, if it names such a parameter. It returns a `torch.nn.Module` that maps images
(N, C, H, W) float32 in [0, 1] to logits (N, num_classes) float32. How its weights begin is its own
affair; they are drawn from torch's default generator, which the run's seed sets.

The module has to be a file below the current folder. A recipe also stands in checkpoints and
artifacts, which may come from anywhere, and none of them shall choose what code of this machine is
run: `os:system` is no network.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.errors import RecipeError

SEPARATOR = ":"
NEIGHBOURS = 1e-4  # by which float32 may differ of batches of one and two, as a share


def names_own_network(architecture: str) -> bool:
    """Return whether an architecture is one's own, `module:function`."""
    return SEPARATOR in architecture


def own_options(
    architecture: str, num_classes: int, image_shape: tuple[int, ...]
) -> dict[str, int | tuple[int, ...]]:
    """Return what a dataset of images (H, W, C) makes of the options that a recipe leaves out.

    Raises:
        RecipeError: there is no such function.
    """
    known: dict[str, int | tuple[int, ...]] = {"num_classes": num_classes}
    try:
        parameters = inspect.signature(_function(architecture)).parameters
    except (TypeError, ValueError):  # written in C, as few networks are
        parameters = {}  # type: ignore[assignment]
    return known | ({"image_shape": image_shape} if "image_shape" in parameters else {})


def build_own_network(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    """Return the network that a function of one's own makes of these options.

    Raises:
        RecipeError: there is no such function, it fails, or it returns no network to train.
    """
    function = _function(architecture)
    try:
        network = function(**options)
    except Exception as exc:  # whatever a stranger's code raises
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise RecipeError(
            f"{architecture}({given}) fails: {reason(exc)}; it is called with the recipe's "
            "options, num_classes, and image_shape if it names it"
        ) from exc
    if not isinstance(network, nn.Module):
        raise RecipeError(
            f"{architecture} returns {_a(network)}, and must return a torch.nn.Module"
        )
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained:
        raise RecipeError(
            f"{architecture} returns a network without a parameter to train; give it a layer, or "
            "leave requires_grad on"
        )
    wrong = next((one.dtype for one in trained if one.dtype != torch.float32), None)
    if wrong:
        raise RecipeError(
            f"{architecture} returns parameters in {wrong}; they are trained in float32: build it "
            "so, and choose the precision of products by the recipe's precision"
        )
    return network


@torch.no_grad()
def own_class_count(network: nn.Module, architecture: str, image_shape: tuple[int, ...]) -> int:
    """Return how many logits such a network gives for an image (H, W, C).

    Raises:
        RecipeError: it takes no such images, does not return (N, classes) of them, or its answer to
            one depends on the others.
    """
    height, width, channels = image_shape
    images = torch.rand((2, channels, height, width), generator=torch.Generator().manual_seed(0))
    try:
        logits = network.eval()(images)
        alone = network(images[:1])
    except Exception as exc:  # whatever a stranger's code raises
        raise RecipeError(
            f"{architecture}: its network fails on images {tuple(images.shape)} float32: "
            f"{reason(exc)}; it must take (N, C, H, W)"
        ) from exc
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images):
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else _a(logits)
        raise RecipeError(
            f"{architecture}: its network returns {shape} for images {tuple(images.shape)}, and "
            "must return logits (N, classes), (2, classes) here"
        )
    if not torch.allclose(logits[:1], alone, rtol=NEIGHBOURS, atol=NEIGHBOURS * _scale(logits)):
        raise RecipeError(
            f"{architecture}: what its network answers to an image depends on the images beside it "
            "in the batch, or on chance, in inference mode too; let each have an answer of its own"
        )
    return int(logits.shape[1])


def _scale(logits: torch.Tensor) -> float:
    return float(logits.abs().max())


def reason(error: BaseException) -> str:
    """Return a stranger's error in one line."""
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first.strip()}" if first else type(error).__name__


def _function(architecture: str) -> Callable[..., Any]:
    """Return the function that an architecture names.

    Raises:
        RecipeError: there is no such module below the current folder, or no such function in it.
    """
    module_name, _, name = architecture.partition(SEPARATOR)
    words = module_name.split(".")
    if not all(word.isidentifier() for word in (*words, name)):
        raise RecipeError(
            f"architecture {architecture!r} is no module:function; write my_package.nets:build, "
            "for example"
        )
    module = _module(architecture, module_name)
    function = getattr(module, name, None)
    if not callable(function):
        found = sorted(
            key
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module_name
        )
        raise RecipeError(
            f"architecture {architecture!r}: {module_name} has no function {name!r}; it has "
            f"{', '.join(found) or 'none'}"
        )
    return function  # type: ignore[no-any-return]


def _module(architecture: str, name: str) -> Any:
    here = Path.cwd()
    stem = here.joinpath(*name.split("."))
    places = [stem.with_name(f"{stem.name}.py"), stem / "__init__.py"]
    place = next((path for path in places if path.is_file()), None)
    if place is None:
        raise RecipeError(
            f"architecture {architecture!r}: there is no module {name}, that is no "
            f"{places[0].relative_to(here)} in {here}; call foldnorm from the folder that holds "
            "it, or import what is installed in a module of your own"
        )
    if str(here) not in sys.path:
        sys.path.append(str(here))  # last, so that no file here hides an installed package
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except Exception as exc:  # whatever a stranger's module raises
        package = name.partition(".")[0]
        if isinstance(exc, ModuleNotFoundError) and (exc.name or "").startswith(package):
            raise _taken(architecture, name, package) from exc
        raise RecipeError(
            f"architecture {architecture!r}: {name} cannot be imported: {reason(exc)}"
        ) from exc
    if Path(getattr(module, "__file__", None) or "").resolve() != place.resolve():
        raise _taken(architecture, name, name.partition(".")[0])
    return module


def _taken(architecture: str, name: str, package: str) -> RecipeError:
    loaded = sys.modules.get(package)
    where = getattr(loaded, "__file__", None) or getattr(loaded, "__path__", ["elsewhere"])[0]
    return RecipeError(
        f"architecture {architecture!r}: the name {package!r} of {name} is taken by another "
        f"package ({where}); rename yours"
    )


def _a(value: object) -> str:
    return f"a {type(value).__name__}"
