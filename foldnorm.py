"""Foldnorm in Python: batch norms folded and proved, networks examined, images classified.

    fold        a torch network               pip install 'foldnorm[train]'
    fold_onnx   an ONNX model                 pip install 'foldnorm[fold]'
    verify      two ONNX models; an artifact  pip install 'foldnorm[fold]'; 'foldnorm[train]'
    doctor      any network's batch norms     pip install 'foldnorm[fold]'; 'foldnorm[train]'
    pack        any classifier of images      pip install 'foldnorm[fold]'; 'foldnorm[train]'
    load        a model that predicts         pip install foldnorm

Importing this module loads the standard library only; a function imports what it needs when it is
called. First it makes sure that `models`, `service` and `training` are Foldnorm's own: names so
common may mean files of the caller's (docs/adr/0011-a-shadowed-package-is-named.md).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:  # slow to import, and most of it is not in the base install
    import onnx
    import onnx_ir
    import torch

    from models.bundle import Bundle
    from service.registry.local_model import LocalModel
    from training.folding.doctor.diagnosis import Diagnosis
    from training.folding.onnx_fold import OnnxFold
    from training.folding.proof.verdict import Verdict
    from training.folding.torch_proof import ProvedNetwork
    from training.release.artifact_check import ArtifactVerdict

__all__ = ["doctor", "fold", "fold_onnx", "load", "pack", "verify"]

StrPath = str | os.PathLike[str]
HOME = Path(__file__).resolve().parent
PACKAGES = ("models", "service", "training")


class ShadowedPackageError(ImportError):
    """Another file answers to the name of one of Foldnorm's packages; the message names it."""


class MissingExtraError(ImportError):
    """What a function needs is not installed; the message has the command that installs it."""


def fold(
    module: torch.nn.Module,
    example: torch.Tensor | tuple[torch.Tensor, ...],
    *,
    clones: bool = False,
    in_place: bool = False,
    proof: bool = True,
) -> ProvedNetwork:
    """Return a torch network with every batch norm folded that can be, exactly, and the proof.

    Printed, the result is a table. Its `network` is the folded one; `rows` says of each batch norm
    which layers took it up, or the reason why it stays: one in training mode does, so call
    `module.eval()` first. `verdict` is the proof: both networks in float64 and as they are, on the
    example and on seeded inputs of its shapes.

    The module itself is not changed, unless `in_place`: then the folded network is the module, of
    its class and with its methods and hooks. Batch norms that need more than other weights stay.

    Args:
        module: the network; torch.fx or torch.export must be able to read it.
        example: any valid input, of the network's type and device.
        clones: whether layers that serve several places may be copied, so that more folds.
        in_place: whether to change the module itself; if anything fails it is as it was.
        proof: whether to prove the fold; without, `verdict` is None.

    Raises:
        MissingExtraError: torch is not installed.
        ShadowedPackageError: another `training` hides Foldnorm's.
        ValueError: `clones` and `in_place`: a copy of a layer needs other code.
        training.errors.FoldError: torch cannot read the network, or the example does not fit.
        training.errors.VerificationError: the proof fails.
        training.errors.UntestedError: the network cannot be computed in float64, or nothing could
            be compared.
    """
    with _imports("fold", "train", "training"):
        from training.folding.torch_proof import fold_and_prove, fold_in_place
    if not in_place:
        return fold_and_prove(module, example, clones=clones, proof=proof)
    if clones:
        raise ValueError("clones and in_place exclude each other: a copy of a layer needs new code")
    return fold_in_place(module, example, proof=proof)


def fold_onnx(
    model: StrPath | onnx.ModelProto,
    output: StrPath | None = None,
    *,
    clones: bool = False,
    constants: bool = False,
    data: StrPath | None = None,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    proof: bool = True,
) -> OnnxFold:
    """Fold every batch norm of an ONNX model that can go exactly, and prove that nothing changed.

    The proof computes both models in float64 and as onnxruntime runs them, on seeded inputs.
    Printed, the result is a table; `model` is the folded model, `rows` what became of each batch
    norm, `verdict` the proof.

    Args:
        model: a file of any exporter, or the loaded model.
        output: where to write the folded model; a file that is there is replaced.
        clones: whether layers and weights that several nodes read may be copied.
        constants: whether initializers that are inputs as well, which callers may override, are
            constants: they are taken from the inputs.
        data: own inputs for the proof: .npz by input name, or .npy.
        seed: of the inputs of the proof.
        sizes: of free axes in the proof, by symbol, or by `INPUT.AXIS`.
        proof: whether to prove it; a file that is written without says so in its metadata.

    Raises:
        MissingExtraError: onnx is not installed.
        ShadowedPackageError: another `training` hides Foldnorm's.
        training.errors.FoldError: the model cannot be read, or the output not be written.
        training.errors.VerificationError: the proof fails; nothing was written.
        training.errors.UntestedError: nothing could be compared; nothing was written.
    """
    with _imports("fold_onnx", "fold", "training"):
        from training.folding.onnx_fold import Options, fold_file, fold_proto
        from training.folding.onnx_frontend.files import check_output
    if output is not None:
        source = Path(model) if isinstance(model, str | os.PathLike) else Path()
        check_output(source, Path(output), force=True)
    options = Options(clones, constants, _optional(data), seed, sizes, proof)
    if isinstance(model, str | os.PathLike):
        result = fold_file(Path(model), options)
    else:
        result = fold_proto(model, options)
    result.check()
    if output is not None:
        result.write(Path(output))
    return result


@overload
def verify(
    model: StrPath | onnx.ModelProto,
    other: StrPath | onnx.ModelProto,
    *,
    data: StrPath | None = None,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
) -> Verdict: ...
@overload
def verify(model: StrPath, *, data_dir: StrPath) -> ArtifactVerdict: ...
def verify(
    model: StrPath | onnx.ModelProto,
    other: StrPath | onnx.ModelProto | None = None,
    *,
    data_dir: StrPath | None = None,
    data: StrPath | None = None,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
) -> Verdict | ArtifactVerdict:
    """Return whether two ONNX models, or the graphs of an artifact, are the same network.

    `holds` of the result says it: the same but for rounding, on seeded inputs for two models, on
    the whole CIFAR-10 test set for an artifact.

    Args:
        model: an ONNX model or its file; an artifact's folder where there is no other.
        other: the model that must be the same network.
        data_dir: for an artifact: the folder that holds cifar-10-batches-py/.
        data: for two models: own inputs, .npz by input name, or .npy.
        seed: for two models: of the inputs.
        sizes: for two models: of free axes, by symbol, or by `INPUT.AXIS`.

    Raises:
        TypeError: there is neither another model nor a `data_dir`, or both.
        MissingExtraError: onnx, or for an artifact torch, is not installed.
        ShadowedPackageError: another `training`, or for an artifact `models`, hides Foldnorm's.
        training.errors.TrainingError: a model or the data cannot be read, or a model not be run.
        models.bundle.BundleError: the artifact is missing or damaged.
    """
    if other is None and data_dir is not None and isinstance(model, str | os.PathLike):
        return _verify_artifact(Path(model), Path(data_dir))
    if other is None or data_dir is not None:
        raise TypeError("give two ONNX models, or the path of an artifact and its data_dir")
    with _imports("verify", "fold", "training"):
        from training.folding.proof.prove import compare_models
    models = _read_onnx(model), _read_onnx(other)
    return compare_models(*models, data=_optional(data), seed=seed, sizes=sizes)


def doctor(model: StrPath, data_dir: StrPath | None = None) -> Diagnosis:
    """Return what is wrong with a network's batch norms, the worst first, and what to do about it.

    Args:
        model: an ONNX file, an artifact, a run, or torch weights (.pt, .pth).
        data_dir: for an artifact or a run: the folder that holds cifar-10-batches-py/, to measure
            the statistics on its images too.

    Raises:
        MissingExtraError: onnx, or for torch weights and measurements torch, is not installed.
        ShadowedPackageError: another `training` or `models` hides Foldnorm's.
        training.errors.TrainingError: the network or the data cannot be read.
        models.bundle.BundleError: the artifact is damaged.
    """
    with _imports("doctor", "fold", "training", "models"):
        from training.folding.doctor.examination import diagnose
    with _imports("doctor", "train"):  # torch, where the path turns out to need it
        return diagnose(Path(model), _optional(data_dir))


def pack(
    model: StrPath | torch.nn.Module,
    example: torch.Tensor | None = None,
    *,
    name: str,
    labels: StrPath | Sequence[str],
    output: StrPath = "artifacts",
    version: str = "1.0.0",
    title: str | None = None,
    licence: str | None = None,
    preprocessor: StrPath | None = None,
    scores: str | None = None,
    output_name: str | None = None,
    data: StrPath | None = None,
    rounds: int | None = None,
    **pixels: object,
) -> Bundle:
    """Make an artifact of an image classifier: preprocessing in the graph, folded, all proved.

    What becomes of a picture is said by `pixels`: `size`, `resize`, `interpolation`, `channels`,
    `mean`, `std` and `layout`, as the options of `foldnorm pack`. A network of timm says it itself.

    Args:
        model: an ONNX file, or a torch network in inference mode.
        example: for a torch network: any valid input (N, C, H, W), on the CPU.
        name: of the artifact, as it is served.
        labels: the classes by index, or a file of them.
        output: the folder that will hold NAME-VERSION.
        version: of the artifact.
        title: one line for people.
        licence: of the weights.
        preprocessor: a transformers `preprocessor_config.json`.
        scores: "logits" or "probabilities", where the last node does not tell.
        output_name: the scores, where an ONNX file has several outputs.
        data: labelled images to measure it on: a folder a class, or a CSV file of path and label.
        rounds: of the run times; about a minute's by default.
        pixels: what becomes of a picture.

    Raises:
        TypeError: a torch network without an example, or an unknown keyword.
        MissingExtraError: onnx, or for a torch network torch, is not installed.
        ShadowedPackageError: another `training` or `models` hides Foldnorm's.
        training.errors.TrainingError: the network is no classifier of images, what is said
            contradicts it, or the artifact exists already.
        training.errors.VerificationError: a proof fails; nothing was written.
    """
    with _imports("pack", "fold", "training", "models"):
        from training.release.packing.asking import packing_of
        from training.release.packing.pack import pack as pack_file
    said = {
        "scores": scores,
        "output": output_name,
        "title": title,
        "licence": licence,
        "data": _optional(data),
    }
    if isinstance(model, str | os.PathLike):
        asked = packing_of(name, version, labels, _optional(preprocessor), pixels, said)
        return pack_file(Path(model), asked, Path(output), rounds)
    if example is None:
        raise TypeError("give an example with a torch network: any valid input (N, C, H, W)")
    with _imports("pack", "train"):
        from training.release.packing.torch_network import pack_network, pipeline_of
    asked = packing_of(
        name, version, labels, _optional(preprocessor), pixels, said, base=pipeline_of(model)
    )
    return pack_network(model, example, asked, Path(output), rounds)


def load(model: StrPath, *, artifacts: StrPath | None = None) -> LocalModel:
    """Return a trained network that classifies images in this process: `load(…).predict(…)`.

    It passes the start-up checks of the service first. Settings are the service's too:
    FOLDNORM_ARTIFACTS, FOLDNORM_CUDA, FOLDNORM_MAX_PIXELS, FOLDNORM_GRAPH_OPTIMIZATION.

    Args:
        model: a name, as the service names it: `keras-bn` (the newest version), `keras-bn@1.1.0`,
            `keras-bn-int8`, `keras-bn-unfolded`; or the path of an artifact's folder.
        artifacts: the folder of the artifacts to find a name in; FOLDNORM_ARTIFACTS if unset.

    Raises:
        ShadowedPackageError: another `service` or `models` hides Foldnorm's.
        service.errors.UnknownModelError: no artifact there has a model of this name.
        service.errors.ModelRefusedError: the model fails its start-up checks.
        service.settings.SettingsError: a FOLDNORM_ variable is unknown, or its value does not fit.
        models.bundle.BundleError: an artifact is missing or damaged.
    """
    with _imports("load", "", "service", "models"):
        from service.registry.local_model import load_local_model
        from service.settings import load_settings
    given = {} if artifacts is None else {"artifacts": Path(artifacts)}
    return load_local_model(model, load_settings(**given))


def run_offline_command() -> None:
    """Run the command `foldnorm`; exits with 2 and one line if its packages are shadowed."""
    with _one_line("foldnorm", exit_code=2):
        _refuse_shadowed("the command", "training", "models")
    from training.cli.entry import main

    main()


def run_service_command() -> None:
    """Run the command `foldnorm-serve`; exits with 1 and one line if its packages are shadowed."""
    with _one_line("foldnorm-serve", exit_code=1):
        _refuse_shadowed("the command", "service", "models")
    from service.__main__ import main

    main()


@contextmanager
def _one_line(command: str, exit_code: int) -> Iterator[None]:
    try:
        yield
    except ShadowedPackageError as error:
        sys.stderr.write(f"{command}: {error}\n")
        sys.exit(exit_code)


def _verify_artifact(artifact: Path, data_dir: Path) -> ArtifactVerdict:
    with _imports("verify", "train", "training", "models"):
        from models.bundle import load_bundle
        from training.data.dataset import tested_images_of
        from training.release.artifact_check import check_artifact
    released = load_bundle(artifact)
    return check_artifact(released, tested_images_of(released.manifest, data_dir))


def _read_onnx(model: StrPath | onnx.ModelProto) -> onnx_ir.Model:
    from training.folding.onnx_fold import read_proto
    from training.folding.onnx_frontend.files import read_model

    return read_model(Path(model)) if isinstance(model, str | os.PathLike) else read_proto(model)


def _optional(path: StrPath | None) -> Path | None:
    return None if path is None else Path(path)


@contextmanager
def _imports(function: str, extra: str, *packages: str) -> Iterator[None]:
    """Around imports: says which file shadows one of our packages, or what to install."""
    _refuse_shadowed(f"foldnorm.{function}", *packages)
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in PACKAGES:
            raise  # ours: nothing that is installed with an extra
        distribution = f"'foldnorm[{extra}]'" if extra else "foldnorm"
        raise MissingExtraError(
            f"foldnorm.{function} needs the package {error.name!r}; install it with: "
            f"pip install {distribution}",
            name=error.name,
        ) from error


def _refuse_shadowed(who: str, *packages: str) -> None:
    """Raise if a name means other files than those beside this one; imports nothing."""
    for package in packages:
        own, found = HOME / package / "__init__.py", _place_of(package)
        if found is not None and found.resolve() == own.resolve():
            continue
        if found is None and package not in sys.modules:
            problem = f"and {own.parent} cannot be imported; install Foldnorm again"
        else:
            problem = (
                f"{own.parent}, but under that name Python "
                f"{'has already imported' if package in sys.modules else 'finds'} "
                f"{found or 'a module without a file'}; rename that, or, if this program does "
                "not need it, start Python with -P and without PYTHONPATH"
            )
        raise ShadowedPackageError(
            f"{who} needs Foldnorm's package {package!r}, {problem}",
            name=package,
            path=str(found) if found else None,
        )


def _place_of(package: str) -> Path | None:
    """Return the file that a name stands for, or the folder if that has no `__init__.py`."""
    loaded = sys.modules.get(package)
    spec = find_spec(package) if loaded is None else loaded.__spec__
    origin = spec.origin if spec else getattr(loaded, "__file__", None)
    folders = spec.submodule_search_locations if spec else None
    return Path(origin) if origin else next(map(Path, folders or []), None)
