"""What is left of a training that is killed, cut off from its disk or from its reader.

    python -m benchmarks.training_trials --data-dir data --output training_trials.json

    kill    SIGKILL at random moments of a run; while a checkpoint is written; at an epoch's end
    export  SIGKILL at random moments of an export
    disk    the disk is full from a random moment on: room again later, or SIGKILL before
    pipe    the reader of the output goes at a random moment

The same small run every time, on one thread. After each disturbance its folder must hold a run that
can be gone on with, or nothing at all; and what goes on must end with the weights, bit for bit, of
the run that nothing disturbed. The disk is a small one in memory, mounted for the trial, so that
trial needs root.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.rig.environment import environment
from benchmarks.trials.training import EPOCHS, IMAGES, RECIPE, TrainingTrials

# By a fifth of the kills.
TRIALS: dict[str, Callable[[TrainingTrials, int], Counter[str]]] = {
    "kill, any moment": lambda trials, fifth: trials.kill(2 * fifth, trials.any_moment, "any"),
    "kill, checkpoint": lambda trials, fifth: trials.kill(fifth, trials.writing, "writing"),
    "kill, epoch end": lambda trials, fifth: trials.kill(fifth, trials.epoch_end, "end"),
    "kill, export": lambda trials, fifth: trials.export(fifth),
    "full disk": lambda trials, fifth: trials.disk(fifth),
    "closed pipe": lambda trials, fifth: trials.pipe(fifth),
}


def main() -> None:
    """Run the trials, print and write what they came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=50, help="two fifths at any moment")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--trials", nargs="+", choices=list(TRIALS), help="these alone; the file keeps the others'"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        trials = TrainingTrials(given.data_dir, Path(work), given.seed)
        found: dict[str, dict[str, int]] = {}
        if given.trials and given.output.exists():
            found = json.loads(given.output.read_text(encoding="utf-8"))["trials"]
        run = {"recipe": RECIPE, "epochs": EPOCHS, "seconds": round(trials.seconds, 1), **IMAGES}
        for name in given.trials or TRIALS:
            found[name] = dict(sorted(TRIALS[name](trials, given.kills // 5).items()))
            print(name, found[name], flush=True)  # noqa: T201
            document = {
                "benchmark": "training_trials",
                "environment": environment(),
                "run": run,
                "seed": given.seed,
                "trials": found,
            }
            given.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
