"""What a live `foldnorm-serve` does when things go wrong.

    python -m benchmarks.serving_trials [--output benchmarks/results/serving_trials.json]

    load       half of the peak and four times the peak, single images; then the return to normal
    batches    the same with 64 images a request
    shutdown   SIGTERM under load
    crash      SIGKILL of one worker under load
    reload     the model is loaded anew under load
    mixed      a hundred different images at once

Each trial has a server of its own. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rig.environment import environment
from benchmarks.serving import FAILURES, names, portable
from benchmarks.trials.crash import crash_trial
from benchmarks.trials.load import BATCHES, SINGLE, load_trial
from benchmarks.trials.mixed import mixed_trial
from benchmarks.trials.reload import reload_trial
from benchmarks.trials.shutdown import shutdown_trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GENERATORS = {
    "peak": "wrk, closed loop",
    "load, batches": "h2load, a fixed rate on each of many connections; latency from the sending",
    "shutdown, crash, reload, mixed": "benchmarks.rig.exchange, closed loop",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the trials, print and perhaps write the results; exits 1 if one could not be run."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server outlives this
    seconds = 2.0 if given.quick else given.seconds
    known = _trials(shlex.split(given.serve_arguments), seconds)
    unknown = set(given.trials) - set(known)
    if unknown:
        raise SystemExit(f"unknown trials {sorted(unknown)}; there are {list(known)}")
    document = {
        "benchmark": "serving_trials",
        "environment": environment(),
        "serve_arguments": given.serve_arguments,
        "seconds": seconds,
        "generators": GENERATORS,
        "trials": {name: _run(name, known[name]) for name in given.trials or known},
    }
    text = json.dumps(document)
    if given.output:
        given.output.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    sys.exit(1 if '"failure"' in text else 0)


def _trials(arguments: Sequence[str], seconds: float) -> dict[str, Callable[[], dict[str, object]]]:
    return {
        "load": partial(load_trial, arguments, SINGLE, seconds),
        "batches": partial(load_trial, arguments, BATCHES, seconds),
        "shutdown": partial(shutdown_trial, arguments, seconds),
        "crash": partial(crash_trial, arguments, seconds),
        "reload": partial(reload_trial, arguments, seconds),
        "mixed": partial(mixed_trial, arguments, seconds),
    }


def _run(name: str, trial: Callable[[], dict[str, object]]) -> dict[str, object]:
    """Run a trial; one that fails does not end the others."""
    started = time.perf_counter()
    try:
        result = trial()
    except FAILURES as error:
        result = {"failure": portable(f"{error}")}
    took = time.perf_counter() - started
    sys.stderr.write(f"{name} ({took:.1f} s)\n{json.dumps(result, indent=2)}\n")
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Fault trials on a live foldnorm-serve.")
    parser.add_argument("--seconds", type=float, default=8.0, help="of load per trial")
    parser.add_argument("--serve-arguments", default="--workers auto", help="of foldnorm-serve")
    parser.add_argument("--quick", action="store_true", help="two seconds of load per trial")
    parser.add_argument("--output", type=Path, help="write the JSON document there too")
    parser.add_argument("--trials", type=names, default=(), help="a,b,…; default: all")
    return parser


if __name__ == "__main__":
    main()
