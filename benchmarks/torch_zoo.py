"""What `foldnorm.fold` makes of known torch networks: what folds, and what is kept and why.

    python -m benchmarks.torch_zoo [--networks NAME,…] [--quick]
        [--output benchmarks/results/folding_torch_zoo.json]

Networks of timm and torchvision as their packages define them, weights random, statistics those of
noise; `--quick` takes small ones of our own instead. Counted are batch norms without a row
(silent), folds that the proof finds wrong, and what a fold in place leaves.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.folding_bench.networks import NETWORKS, Network
from benchmarks.rig.environment import describe_machine
from training.errors import FoldError, VerificationError
from training.folding.torch_proof import ProvedNetwork, fold_and_prove, fold_in_place

RESULTS = Path(__file__).resolve().parent / "results" / "folding_torch_zoo.json"
SIZE = 64  # of images, where the network takes any
BATCH = 2
WIDE = {"inception_v3": 96}
TIMM = """
resnet18 resnet26d resnet50 seresnet18 skresnet18 resnest14d res2net50_26w_4s resnetblur50
cspresnet50 darknet53 vovnet39a dla34 dpn68 hrnet_w18_small selecsls42b densenet121 inception_v3
efficientnet_b0 tf_efficientnet_b0 mixnet_s fbnetc_100 mnasnet_100 tinynet_e lcnet_050
hardcorenas_a mobilenetv2_050 mobilenetv3_small_050 mobilenetv4_conv_small ghostnet_100
repghostnet_050 rexnet_100 regnetx_002 regnety_004 gernet_s repvgg_a0 mobileone_s1 repvit_m0_9
hgnet_tiny starnet_s1 fastvit_t8 levit_128s mobilevit_xxs efficientformer_l1 visformer_tiny
convnext_atto
""".split()  # noqa: SIM905 - one name a line would be a page
TORCHVISION = """
resnet18 resnext50_32x4d densenet121 mobilenet_v2 mobilenet_v3_small mnasnet0_5
shufflenet_v2_x0_5 squeezenet1_0 regnet_x_400mf efficientnet_b0 googlenet
""".split()  # noqa: SIM905
QUICK = ("M5 (1-D audio)", "air94")


@dataclass
class Result:
    """How one network fares.

    Attributes:
        norms: modules that are batch norms.
        listed: batch norms that have a row, frozen ones and functions too.
        kept: reason, without the names of layers -> how many batch norms it keeps.
        silent: batch norms without a row, where nothing was raised either.
        verdict: `holds`, `fails`, or why there is none.
        seconds: of folding and the proof.
        in_place: batch norms that a fold in place folds, and what its proof says.
    """

    network: str
    norms: int
    listed: int = 0
    folded: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    silent: int = 0
    verdict: str = ""
    largest_difference: float | None = None
    note: str | None = None
    seconds: float = 0.0
    in_place: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=lambda text: text.split(","))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    known = _own() if given.quick else zoo()
    environment = describe_machine() | {"versions": _versions()}
    results: list[Result] = []
    for name in given.networks or known:
        torch.manual_seed(0)
        results.append(measured(name, *known[name]()))
        sys.stderr.write(f"{_line(results[-1])}\n")
        document = {
            "benchmark": "torch_zoo",
            "environment": environment,
            "totals": _totals(results),
            "networks": [asdict(result) for result in results],
        }
        given.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{json.dumps(_totals(results))}\n")


Built = tuple[nn.Module, tuple[int, ...]]  # a network, and the shape of its inputs


def _own() -> Mapping[str, Callable[[], Built]]:
    """Return networks that need no other package."""
    own = [one for one in NETWORKS if one.name in QUICK]
    return {one.name: partial(_of_ours, one) for one in own}


def zoo() -> Mapping[str, Callable[[], Built]]:
    """Return how each network of timm and torchvision is built."""
    named = {f"timm {name}": partial(_of_timm, name) for name in TIMM}
    return named | {f"torchvision {name}": partial(_of_torchvision, name) for name in TORCHVISION}


def _of_ours(network: Network) -> Built:
    return network.build(), (BATCH, *network.shape[1:])


def _of_timm(name: str) -> Built:
    network = import_module("timm").create_model(name, pretrained=False)
    cfg = network.pretrained_cfg
    size = cfg["input_size"][1] if cfg.get("fixed_input_size") else WIDE.get(name, SIZE)
    return network, (BATCH, 3, size, size)


def _of_torchvision(name: str) -> Built:
    options = {"init_weights": False} if name == "googlenet" else {}
    network = import_module("torchvision").models.get_model(name, weights=None, **options)
    return network, (BATCH, 3, SIZE, SIZE)


def measured(name: str, network: nn.Module, shape: tuple[int, ...]) -> Result:
    """Return how a network fares."""
    network = with_statistics(network, shape)
    example = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    result = Result(name, sum(isinstance(one, _BatchNorm) for one in network.modules()))
    started = time.perf_counter()
    folded = _tried(fold_and_prove, network, example)
    result.seconds = round(time.perf_counter() - started, 1)
    if isinstance(folded, str):
        result.verdict = folded
        return result
    rows = [row for row in folded.rows if row.is_norm]
    result.listed, result.folded = len(rows), sum(row.folded for row in rows)
    result.kept = dict(Counter(_kind_of(row.reason) for row in rows if row.reason is not None))
    result.silent = max(0, result.norms - len(rows))
    assert folded.verdict is not None, "it was asked for"
    result.verdict = "holds"
    result.largest_difference = folded.verdict.statistics.largest_relative
    result.note = folded.note
    changed = _tried(fold_in_place, copy.deepcopy(network), example)
    if isinstance(changed, str):
        result.in_place = {"verdict": changed}
    else:
        gone = sum(row.folded for row in changed.rows if row.is_norm)
        result.in_place = {"folded": gone, "verdict": "holds"}
    return result


def _tried(
    fold: Callable[[nn.Module, torch.Tensor], ProvedNetwork], network: nn.Module, x: torch.Tensor
) -> ProvedNetwork | str:
    try:
        return fold(network, x)
    except VerificationError as error:
        return f"fails: {error}"[:300]
    except FoldError as error:
        return f"refused: {error}"[:300]


def with_statistics(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Give every batch norm random parameters and the statistics of noise, as training would."""
    norms = [one for one in network.eval().modules() if isinstance(one, _BatchNorm)]
    for norm in norms:
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.2)
            nn.init.normal_(norm.bias, std=0.2)
        norm.momentum = None  # the mean of all batches
        norm.reset_running_stats()
        norm.training = True
    with torch.no_grad():
        network(torch.randn(4, *shape[1:]))
    return network.eval()


def _kind_of(reason: str) -> str:
    """Return a reason without the names of layers, so that equal ones can be counted."""
    words = [word for word in reason.split() if not any(c in word for c in "._/0123456789")]
    return " ".join(words)[:160]


def _totals(results: list[Result]) -> dict[str, int]:
    return {
        "networks": len(results),
        "norms": sum(result.norms for result in results),
        "folded": sum(result.folded for result in results),
        "kept": sum(sum(result.kept.values()) for result in results),
        "silent": sum(result.silent for result in results),
        "wrong": sum(result.verdict.startswith("fails") for result in results),
        "refused": sum(result.verdict.startswith("refused") for result in results),
        "folded_in_place": sum(result.in_place.get("folded", 0) for result in results),
        "wrong_in_place": sum(result.in_place.get("verdict") != "holds" for result in results),
    }


def _line(result: Result) -> str:
    return (
        f"{result.network:32} {result.norms:4} {result.folded:4} folded, in place "
        f"{result.in_place.get('folded', '-')!s:4} {result.verdict} {result.seconds} s "
        f"{result.note or ''} {result.kept or ''}"
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in ("torch", "torchvision", "timm", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
