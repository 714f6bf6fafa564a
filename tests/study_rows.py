"""Rows of a study as its runs would leave them, without any training."""

from training.studies.rows import Row

MADE = {
    "precision": "float32",
    "device": "here",
    "torch": "2",
    "started": "2026-01-02T00:00:00+00:00",
}


def rows_of(study, measures_of, *, seeds=(0, 1, 2), epochs=4):
    """Return a row for each cell and seed, with what `measures_of(levels, seed)` gives it."""
    return [
        Row(
            study=study.name,
            run=f"{index}-{seed}",
            seed=seed,
            preset="cpu",
            levels=dict(cell),
            status="done",
            epochs=epochs,
            made=MADE,
            measures=measures_of(dict(cell), seed),
        )
        for index, cell in enumerate(study.cells())
        for seed in seeds
    ]
