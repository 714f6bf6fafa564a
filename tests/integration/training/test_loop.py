"""The loop on small data: what a stopped run gives, and how a broken one ends."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.small_runs import Observer, random_split
from training.data.seeds import Stream, stream_generator
from training.errors import CheckpointError, DivergedError, RecipeError
from training.recipes.recipe import NetworkRecipe, load_recipe
from training.trainer.evaluate import evaluate_network
from training.trainer.loop import StoppedError, TrainingRun
from training.trainer.methods.losses import cross_entropy
from training.trainer.run.checkpoint import load_checkpoint
from training.trainer.run.run_directory import RunDirectory

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")
STEP_OF_STOP = 25


@pytest.fixture(scope="module")
def data():
    return random_split(86, 0), random_split(20, 1)


def train(run, data, epochs, observer=None):
    while run.progress.epoch < epochs:
        run.train_epoch(*data, observer or Observer())
    return run


def state(run):
    """Return everything that the next step depends on."""
    moments = {
        f"{member}.{parameter}.{name}": value
        for member, optimizer in run.optimizer.state_dict().items()
        for parameter, slot in optimizer["state"].items()
        for name, value in slot.items()
    }
    return {**run.network.state_dict(), **{k: torch.as_tensor(v) for k, v in moments.items()}}


def identical(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def curve(run):
    """Return the history but for the seconds."""
    return [replace(record, train_seconds=0, test_seconds=0) for record in run.history]


@pytest.fixture
def recipe(request):
    """86 images in batches of 3: 29 steps an epoch, the last of two images."""
    return replace(load_recipe(getattr(request, "param", "keras-bn")), batch_size=3, epochs=2)


# One has statistics that move, the other draws dropout.
BOTH = pytest.mark.parametrize("recipe", ["keras-bn", "keras-baseline"], indirect=True)


@BOTH
def test_a_run_stopped_inside_an_epoch_goes_on_bit_identically(recipe, data, tmp_path):
    whole = train(TrainingRun(recipe, 7, CPU), data, 2)
    stopped = TrainingRun(recipe, 7, CPU)
    with pytest.raises(StoppedError):
        train(stopped, data, 2, Observer(stop_at=(2, STEP_OF_STOP)))
    directory = RunDirectory(tmp_path)
    directory.save(stopped)
    resumed = TrainingRun(recipe, 7, CPU)
    torch.manual_seed(12345)  # whatever happened in between
    directory.open(resumed, resume=True)
    assert (resumed.progress.epoch, resumed.progress.step) == (1, STEP_OF_STOP)
    train(resumed, data, 2)
    assert identical(state(whole), state(resumed))
    assert curve(whole) == curve(resumed)


def test_a_run_stopped_between_epochs_goes_on_bit_identically(recipe, data, tmp_path):
    whole = train(TrainingRun(recipe, 7, CPU), data, 2)
    first = train(TrainingRun(recipe, 7, CPU), data, 1)
    directory = RunDirectory(tmp_path)
    directory.save(first)
    resumed = TrainingRun(recipe, 7, CPU)
    directory.open(resumed, resume=True)
    train(resumed, data, 2)
    assert identical(state(whole), state(resumed))
    assert curve(whole) == curve(resumed)


@BOTH
def test_a_resume_that_forgets_the_generators_would_be_noticed(recipe, data, tmp_path):
    whole = train(TrainingRun(recipe, 7, CPU), data, 1)
    stopped = TrainingRun(recipe, 7, CPU)
    with pytest.raises(StoppedError):
        train(stopped, data, 1, Observer(stop_at=(1, STEP_OF_STOP)))
    stopped.progress.augmentation_state = None
    stopped.progress.dropout_state = None
    train(stopped, data, 1)
    assert not identical(state(whole), state(stopped))


def test_a_cpu_may_be_stopped_at_every_step_and_the_last_batch_may_be_smaller(data, recipe):
    observer = Observer()
    train(TrainingRun(recipe, 7, CPU), data, 1, observer)
    assert observer.steps == [(1, step, 29) for step in range(1, 30)]


def test_where_a_report_would_stall_the_device_it_is_seldom(data, recipe):
    run, observer = TrainingRun(recipe, 7, CPU), Observer()
    run.steps_between_reports = 25
    train(run, data, 1, observer)
    assert observer.steps == [(1, 25, 29), (1, 29, 29)]


def test_a_smaller_last_batch_counts_by_its_images(recipe, data):
    run, observer, predicted = TrainingRun(recipe, 7, CPU), Observer(), []
    run.network.register_forward_hook(
        lambda network, _, logits: predicted.append(logits.argmax(1)) if network.training else None
    )
    record = run.train_epoch(*data, observer)
    weighted = sum(np.multiply(observer.losses, [3] * 28 + [2])) / 86
    assert record.train_loss == pytest.approx(weighted, rel=1e-12)  # 29 sums in float64
    assert record.train_loss != pytest.approx(np.mean(observer.losses), rel=1e-6)  # of the batches
    order = torch.randperm(86, generator=stream_generator(7, Stream.ORDER, 0))
    correct = (torch.cat(predicted) == data[0].labels[order]).sum().item()
    assert record.train_accuracy == correct / 86


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_cause(recipe, data, tmp_path):
    run = train(TrainingRun(recipe, 7, CPU), data, 1)
    directory = RunDirectory(tmp_path)
    directory.save(run)
    with torch.no_grad():
        run.network.dense2.weight[0, 0] = float("nan")
    with pytest.raises(DivergedError, match=r"epoch 2, step \d+; the likely cause is the learning"):
        train(run, data, 2)
    assert load_checkpoint(directory.checkpoint_file).progress.epoch == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda r: replace(r, batch_size=5), "batch_size"),
        (lambda r: replace(r, optimizer=replace(r.optimizer, learning_rate=0.5)), "optimizer"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(recipe, tmp_path, change, named):
    directory = RunDirectory(tmp_path)
    directory.save(TrainingRun(recipe, 7, CPU))
    with pytest.raises(CheckpointError, match=named):
        directory.open(TrainingRun(change(recipe), 7, CPU), resume=True)
    with pytest.raises(CheckpointError, match="its seed is 7, here it is 8"):
        directory.open(TrainingRun(recipe, 8, CPU), resume=True)


def test_more_epochs_may_be_asked_of_a_resumed_run(recipe, tmp_path):
    directory = RunDirectory(tmp_path)
    directory.save(TrainingRun(recipe, 7, CPU))
    directory.open(TrainingRun(replace(recipe, epochs=9), 7, CPU), resume=True)


def test_a_folder_that_holds_a_run_is_not_overwritten(recipe, tmp_path):
    directory = RunDirectory(tmp_path)
    directory.save(TrainingRun(recipe, 7, CPU))
    before = directory.checkpoint_file.read_bytes()
    with pytest.raises(CheckpointError, match="--resume"):
        directory.open(TrainingRun(recipe, 7, CPU), resume=False)
    assert before == directory.checkpoint_file.read_bytes()


def test_a_run_goes_on_under_another_name_and_title(recipe, data, tmp_path):
    run = train(TrainingRun(recipe, 7, CPU), data, 1)
    directory = RunDirectory(tmp_path)
    directory.save(run)
    renamed = TrainingRun(replace(recipe, name="other", title="Other"), 7, CPU)
    directory.open(renamed, resume=True)
    assert renamed.progress.epoch == 1
    with pytest.raises(CheckpointError, match="its batch_size is 3, here it is 4"):
        directory.open(TrainingRun(replace(recipe, batch_size=4), 7, CPU), resume=True)


@pytest.mark.parametrize("stop", ["write_measurements", "write_history", "save_checkpoint"])
def test_a_curve_that_is_complete_has_a_run_that_can_go_on_to_it(
    stop, recipe, data, tmp_path, monkeypatch
):
    from models import history
    from training.trainer.probes import measurement
    from training.trainer.run import checkpoint

    probed = replace(recipe, probes=replace(recipe.probes, precise_bn=20))
    run, directory = TrainingRun(probed, 7, CPU), RunDirectory(tmp_path)
    run.prepare(*data)
    run.train_epoch(*data, Observer())
    directory.save(run)
    run.train_epoch(*data, Observer())
    module = {"write_history": history, "save_checkpoint": checkpoint}.get(stop, measurement)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, stop, killed)
    with pytest.raises(KeyboardInterrupt):
        directory.save(run)
    epochs = len(history.read_history(directory.history_file))
    precise = [
        one
        for one in measurement.read_measurements(directory.measures_file)
        if one.measure == "precise_bn_accuracy"
    ]
    assert len(precise) >= epochs or not precise
    resumed = TrainingRun(probed, 7, CPU)
    directory.open(resumed, resume=True)
    assert resumed.progress.epoch == 1


def test_measuring_is_a_plain_forward_in_inference_mode(recipe, data):
    network = train(TrainingRun(recipe, 7, CPU), data, 1).network
    images, labels = data[1].images, data[1].labels
    with torch.inference_mode():
        logits = network.eval()(images.float() / 255)
    clip = recipe.probability_clip
    loss, accuracy, _ = evaluate_network(network.train(), data[1], clip)
    assert (logits.argmax(1) == labels).double().mean().item() == accuracy
    # The layout in memory may order float32 sums otherwise; the other mode is far off.
    assert loss == pytest.approx(cross_entropy(logits, labels, clip).item(), rel=1e-5)
    with torch.inference_mode():  # last, for it moves the running statistics
        in_training_mode = network.train()(images.float() / 255)
    assert loss != pytest.approx(cross_entropy(in_training_mode, labels, clip).item(), rel=1e-3)


@BOTH
def test_every_epoch_trains_in_training_mode_and_is_measured_in_inference_mode(recipe, data):
    run = TrainingRun(recipe, 7, CPU)
    modes = []
    run.network.register_forward_hook(lambda network, *_: modes.append(network.training))
    train(run, data, 2)
    # At the end of the run once more, for each pass of test-time augmentation.
    assert modes == ([True] * 29 + [False]) * 2 + [False] * 6


def test_a_run_without_augmentation_sees_the_images_as_they_are(data):
    recipe = replace(load_recipe("keras-baseline"), batch_size=3)
    still = replace(recipe, augmentation=replace(recipe.augmentation, max_shift=0.0))
    still = replace(still, augmentation=replace(still.augmentation, flip_probability=0.0))
    seen = {}
    for name, variant in (("still", still), ("moved", recipe)):
        run = TrainingRun(variant, 7, CPU)
        batches = seen.setdefault(name, [])
        hook = run.network.register_forward_pre_hook(lambda _, x, b=batches: b.append(x[0].clone()))
        run.train_epoch(*data, Observer())
        hook.remove()
    pixels = torch.cat(seen["still"][:29])
    original = data[0].images.float() / 255
    nearest = torch.cdist(pixels.flatten(1), original.flatten(1), p=1).argmin(1)
    # The order of an epoch is drawn, and each image is seen exactly once. A position of up to 32
    # pixels is rounded a few times, and so far is the pixel off that is sampled there.
    assert sorted(nearest.tolist()) == list(range(86))
    assert (pixels - original[nearest]).abs().max() < 32 * 32 * torch.finfo(torch.float32).eps
    assert (torch.cat(seen["moved"][:29]) - original[nearest]).abs().max() > 0.1


def test_weights_broken_by_the_last_step_stop_the_run_too(recipe, data):
    run = TrainingRun(recipe, 7, CPU)

    class BreaksTheWeights(Observer):
        def on_step(self, epoch, step, steps, loss):
            with torch.no_grad():
                run.network.dense2.weight[0, 0] = float("nan") if step == steps else 0

    with pytest.raises(DivergedError, match=r"the loss is nan in epoch 1, step 29"):
        train(run, data, 1, BreaksTheWeights())
    assert run.history == []


def test_the_learning_rate_decays_over_the_whole_run_and_is_in_the_history(recipe, data):
    steep = replace(recipe, optimizer=replace(recipe.optimizer, decay=0.1))
    run = train(TrainingRun(steep, 7, CPU), data, 2)
    rates = [steep.optimizer.learning_rate / (1 + 0.1 * step) for step in (28, 57)]
    assert rates == [record.learning_rate for record in run.history]


@pytest.mark.parametrize(
    "network",
    [NetworkRecipe("resnet"), NetworkRecipe("keras_cnn", {"batch_norm": "no", "dropout": False})],
)
def test_a_recipe_of_no_network_is_refused_by_its_name(recipe, network):
    with pytest.raises(RecipeError, match=f"recipe '{recipe.name}': "):
        TrainingRun(replace(recipe, network=network), 7, CPU)
