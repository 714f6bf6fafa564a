"""Networks of timm and torchvision as ONNX files, for `benchmarks.onnx_zoo`.

    python -m benchmarks.onnx_zoo_export FOLDER [--networks NAME,…]

Runs in the zoo's environment (see README.md). Each network is written by both of torch's exporters,
batch norms and all: the default one without its optimizer, the traced one in the network's own mode
and without constant folding. Weights are random, statistics those of noise, one image an input.
Files that are there are kept; what cannot be exported is named in `failures.json`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch

from benchmarks.folding_bench.tools import exported, exported_by_tracing
from benchmarks.torch_zoo import with_statistics, zoo

if TYPE_CHECKING:
    from collections.abc import Callable

EXPORTERS: dict[str, Callable[[torch.nn.Module, torch.Tensor], onnx.ModelProto]] = {
    "default": exported,
    "traced": lambda network, example: exported_by_tracing(network, example, fold=False),
}


def main() -> None:
    """Export what is not there yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", type=lambda text: text.split(","))
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    known = zoo()
    failures = {}
    for name in given.networks or known:
        for exporter in EXPORTERS:
            path = given.folder / f"{name.replace(' ', '-')}.{exporter}.onnx"
            if path.exists():
                continue
            started = time.perf_counter()
            failure = _export(name, exporter, path)
            if failure is not None:
                failures[path.stem] = failure
            seconds = time.perf_counter() - started
            sys.stderr.write(f"{path.stem} {seconds:.1f} s {failure or ''}\n")
    (given.folder / "failures.json").write_text(json.dumps(failures, indent=1), encoding="utf-8")


def _export(name: str, exporter: str, path: Path) -> str | None:
    """Write a network, the same for each exporter; return why it could not be."""
    torch.manual_seed(0)
    network, shape = zoo()[name]()
    network = with_statistics(network, shape)
    example = torch.randn((1, *shape[1:]), generator=torch.Generator().manual_seed(1))
    try:
        model = EXPORTERS[exporter](network, example)
    except Exception as error:  # torch's exporters raise what they will
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:200]
    onnx.save(model, path.with_suffix(".partial"), format="protobuf")
    path.with_suffix(".partial").rename(path)  # whole or not at all
    return None


if __name__ == "__main__":
    main()
