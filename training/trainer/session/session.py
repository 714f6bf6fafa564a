"""One call of `foldnorm train`: seeds trained one after the other, saved, stopped and resumed."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import typer

from models.history import EpochRecord
from training.data.dataset import Dataset, open_dataset
from training.data.device_split import RunData
from training.errors import CheckpointError, DivergedError, SaveError
from training.evaluation.environment import describe_environment
from training.recipes import Recipe
from training.trainer.device import precision_warning
from training.trainer.distributed import Workers
from training.trainer.evaluate import RunResult
from training.trainer.loop import StoppedError, TrainingRun
from training.trainer.networks import check_fits, fitted
from training.trainer.run.initial_weights import InitialWeights, describe_origin
from training.trainer.run.run_directory import RunDirectory
from training.trainer.session.console import ProgressReport, run_header, run_report, say
from training.trainer.session.saving import not_saved, save_patiently
from training.trainer.session.stopping import interruptible
from training.trainer.session.tensorboard_events import write_tensorboard
from training.trainer.session.timers import Timers


@dataclass(frozen=True)
class TrainingSession:
    """One call of `train`: what all its runs have in common."""

    recipe: Recipe
    device: torch.device
    precision: torch.dtype
    workers: Workers
    compiled: bool
    resume: bool
    tensorboard: bool
    initial: InitialWeights | None = None  # in place of random ones

    def train_seeds(self, seeds: range, data_dir: Path, run_dir: Path | None) -> list[RunResult]:
        """Train each seed in its folder; a finished run is not trained again.

        Raises:
            RecipeError: the recipe does not fit the dataset.
            CheckpointError: a folder holds another run, or none to resume, or the initial weights
                are of another network.
            DataError: the dataset is not there, or is not sound.
        """
        dataset = open_dataset(data_dir, self.recipe.data)
        recipe = fitted(self.recipe, dataset.image_shape, dataset.labels)
        return replace(self, recipe=recipe)._train_seeds(seeds, dataset, run_dir)

    def _train_seeds(self, seeds: range, dataset: Dataset, run_dir: Path | None) -> list[RunResult]:
        check_fits(self.recipe, dataset.image_shape, dataset.labels)
        folders = {
            seed: RunDirectory(run_dir or Path("runs") / f"{self.recipe.name}-seed{seed}")
            for seed in seeds
        }
        # Of several runs those that were not begun yet start now.
        resumes = {
            seed: self.resume and (len(seeds) == 1 or folder.holds_run)
            for seed, folder in folders.items()
        }
        for seed, folder in folders.items():
            folder.check(resume=resumes[seed])
        timers = Timers(self.device)
        with timers.measure("build"):
            loaded = dataset.load()
        for remark in loaded.remarks if self.workers.leads else ():
            typer.echo(remark)
        with timers.measure("prepare"):
            splits = (loaded.train, loaded.test)
            data = RunData.place(splits, self.recipe.data, self.device)
        results = []
        for seed, folder in folders.items():
            with timers.measure("build"):
                run = TrainingRun(
                    self.recipe,
                    seed,
                    self.device,
                    precision=self.precision,
                    workers=self.workers,
                    compiled=self.compiled,
                )
                run.images = asdict(loaded.record) if loaded.record else None
                if self.initial:
                    run.begin_with(self.initial)
            with folder.locked() if self.workers.leads else nullcontext():
                folder.open(run, resume=resumes[seed])
                self._train_run(run, data, folder, timers)
            if run.result:
                results.append(run.result)
        return results

    def _train_run(
        self, run: TrainingRun, data: RunData, directory: RunDirectory, timers: Timers
    ) -> None:
        if run.finished:
            if run.progress.epoch > self.recipe.epochs:
                raise CheckpointError(
                    f"the run in {directory.path} has {run.progress.epoch} epochs, more than the "
                    f"{self.recipe.epochs} asked for; ask for as many, or choose another --run-dir"
                )
            if self.workers.leads:
                directory.save(run)  # what a stop after the checkpoint left out
                further = "--set patience=0" if run.impatient else "--epochs"
                typer.echo(f"the run has its {run.progress.epoch} epochs; {further} goes further")
            return
        with timers.measure("prepare"):
            run.prepare(data.train, data.test, data.held_out)
        if self.workers.leads:
            precision = str(self.precision).removeprefix("torch.")
            used = replace(self.recipe, seed=run.seed, precision=precision)  # type: ignore[arg-type]
            directory.describe(used)
            if warning := precision_warning(precision, self.device):
                say(warning)
            typer.echo(run_header(used, run.network, run.device, len(data.train.labels)))
            if run.origin:
                typer.echo(f"it begins with {describe_origin(run.origin)}")
        run.sessions.append(
            {
                "first_epoch": run.progress.epoch + 1,
                "precision": str(self.precision).removeprefix("torch."),
                "processes": self.workers.size,
                "compiled": self.compiled,
                **describe_environment(self.device),
            }
        )
        self._train_epochs(run, data, directory)
        if self.workers.leads and run.result:
            typer.echo(run_report(run.result, timers.seconds))
            if run.impatient:
                typer.echo(
                    f"stopped after {run.progress.epoch} epochs: none of the last "
                    f"{self.recipe.patience} was better on the held-out images"
                )
            if run.best_epoch:
                typer.echo(
                    f"best on the held-out images: epoch {run.best_epoch}, "
                    f"{run.held_out_accuracies[run.best_epoch - 1]:.2%}, kept for export --best"
                )
            if run.answers == 1:
                say(
                    "warning: the network gives every test image the same answer: it has learnt "
                    "nothing, or lost it; a lower learning rate is the usual remedy"
                )

    def _train_epochs(self, run: TrainingRun, data: RunData, directory: RunDirectory) -> None:
        leads, alone = self.workers.leads, self.workers.size == 1
        report = ProgressReport(self.recipe.epochs, self.recipe.batch_size, quiet=not leads)
        try:
            with report, interruptible(report, alone=alone) as observer:
                while not run.finished:
                    record = run.train_epoch(data.train, data.test, observer)
                    if leads:
                        self.keep(run, record, directory, report)
        except DivergedError as error:
            if leads:
                directory.record_divergence(run, error)
            raise
        except StoppedError:
            if leads:
                save_patiently(run, directory)
            self.workers.wait_for_all()  # torchrun ends the others with the first
            if leads:
                say(
                    f"stopped in epoch {run.progress.epoch + 1}, step {run.progress.step}; saved. "
                    "To go on, repeat the command with --resume "
                    f"(run folder {directory.path})"
                )
            raise typer.Exit(130) from None

    def keep(
        self,
        run: TrainingRun,
        record: EpochRecord,
        directory: RunDirectory,
        report: ProgressReport,
    ) -> None:
        """Save an epoch, then report it.

        Raises:
            SaveError: the run is over and cannot be saved, or an epoch that is saved cannot be
                reported.
        """
        if run.finished:
            save_patiently(run, directory)
        else:
            try:
                directory.save(run)
            except OSError as error:
                say(f"{not_saved(directory, error)}; going on, the next epoch is saved again")
        try:
            report.on_epoch(record)
            if self.tensorboard:
                write_tensorboard(record, directory.path)
        except OSError as error:
            raise SaveError(
                f"epoch {record.epoch} is saved in {directory.path} and cannot be reported "
                f"({error.strerror or error}); mend that, and go on with --resume"
            ) from error
