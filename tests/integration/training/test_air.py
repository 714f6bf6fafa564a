"""An air network from the recipe to the folded graph."""

import shutil
from dataclasses import replace

import numpy as np
import onnx_ir
import pytest
import torch

from tests.small_runs import Observer
from training.data.cifar10 import Split
from training.data.device_split import DeviceSplit
from training.evaluation.graph_statistics import node_counts
from training.export.exporter import export_onnx
from training.folding.onnx_frontend import fold_model
from training.recipes.recipe import NetworkRecipe, load_recipe
from training.release.verification import verify_graphs
from training.trainer.device import compile_step
from training.trainer.loop import StoppedError, TrainingRun
from training.trainer.run.run_directory import RunDirectory

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = 60
BATCH = 12
EPOCHS = 3
DEPTHS = {"air94": 2, "air96": 3}  # convolutions, and batch norms, in each of three groups


@pytest.fixture(scope="module")
def data():
    """Images of one colour per class, with noise: learnt in a few steps."""
    generator = np.random.default_rng(0)
    colours = generator.integers(40, 216, (10, 1, 1, 3))

    def split(count):
        labels = np.arange(count) % 10
        noise = generator.integers(-30, 30, (count, 32, 32, 3))
        return DeviceSplit.place(Split((colours[labels] + noise).astype(np.uint8), labels), CPU)

    return split(IMAGES), split(40)


def narrow(name):
    """Return the recipe with a network of 8 channels and batches of 12.

    The rates of what SGD moves are for the mean loss, so they go with the batch. A new head's
    weights are of the size 1 / channels: with fewer channels the gradients of what lies before it
    are larger by as much, and with Muon the head's own rate is in units of that size, squared.
    """
    recipe = load_recipe(name)
    options = {**recipe.network.options, "widths": (8, 8, 8)}
    optimizer, scale = recipe.optimizer, BATCH / recipe.batch_size
    width = recipe.network.options["widths"][-1]
    scales = {"biases": scale * 8 / width, "whitening_bias": scale * 8 / width, "head": scale}
    if optimizer.kind == "sgd":
        scales["filters"] = scale * 8 / width
    else:
        scales["head"] *= (width / 8) ** 2
    for group, factor in scales.items():
        rate = getattr(optimizer, group).learning_rate * factor
        changed = replace(getattr(optimizer, group), learning_rate=rate, weight_decay=0.0)
        optimizer = replace(optimizer, **{group: changed})
    network = NetworkRecipe(recipe.network.architecture, options)
    return replace(recipe, network=network, optimizer=optimizer, batch_size=BATCH, epochs=EPOCHS)


def trained(recipe, data, seed=7, **options):
    run = TrainingRun(recipe, seed, CPU, **options)
    run.prepare(data[0], data[1])
    finish(run, data)
    return run


def finish(run, data, observer=None):
    while not run.finished:
        run.train_epoch(*data, observer or Observer())


def same(left, right):
    states = left.network.state_dict(), right.network.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.fixture(scope="module", params=["air94", "air96"])
def run(request, data):
    return trained(narrow(request.param), data)


@pytest.fixture(scope="module")
def exported(run):
    return export_onnx(run.network.eval(), (32, 32, 3))


def test_a_run_learns_and_ends_with_a_result(run):
    result = run.result
    assert result.single_view_accuracy == run.history[-1].test_accuracy
    assert run.history[-1].train_loss < run.history[0].train_loss
    if run.recipe.name == "air94":  # the other is residual and too narrow here to get far
        assert min(result.single_view_accuracy, result.six_view_accuracy) > 0.5
    assert result.accuracy_before_recalibration is not None
    assert result.train_seconds == pytest.approx(sum(r.train_seconds for r in run.history))


def test_every_batch_norm_folds_away_and_the_proof_holds(run, exported, data):
    folded = fold_model(onnx_ir.from_proto(exported))
    norms = 3 * DEPTHS[run.recipe.name]
    assert node_counts(exported)["BatchNormalization"] == norms
    served = onnx_ir.to_proto(folded.model)
    assert "BatchNormalization" not in node_counts(served)
    assert "Div" not in node_counts(served)  # /255 too, into the unpadded whitening
    images = data[1].images.permute(0, 2, 3, 1).numpy()
    contents = exported.SerializeToString(), served.SerializeToString()
    assert verify_graphs(run.network.eval(), *contents, images).holds


def test_a_run_stopped_inside_an_epoch_goes_on_bit_identically(data, tmp_path):
    recipe = narrow("air96")  # with lookahead, whose average goes on too
    whole, stopped = trained(recipe, data), TrainingRun(recipe, 7, CPU)
    stopped.prepare(data[0], data[1])
    with pytest.raises(StoppedError):
        finish(stopped, data, Observer(stop_at=(2, 4)))
    directory = RunDirectory(tmp_path)
    directory.save(stopped)
    resumed = TrainingRun(recipe, 7, CPU)
    directory.open(resumed, resume=True)
    resumed.prepare(data[0], data[1])
    finish(resumed, data)
    assert same(whole, resumed)
    assert resumed.result.single_view_accuracy == whole.result.single_view_accuracy


@pytest.mark.parametrize("name", ["air94", "air96"])
def test_a_run_is_its_recipe_and_its_seed_whatever_was_drawn_before(name, data):
    torch.manual_seed(1)
    first = trained(narrow(name), data)
    torch.manual_seed(2)
    assert same(first, trained(narrow(name), data))
    assert not same(first, trained(narrow(name), data, seed=8))


def test_the_whitening_is_set_once_and_stays(data):
    run = TrainingRun(narrow("air94"), 7, CPU)
    before = run.network.whitening.weight.clone()
    run.prepare(data[0], data[1])
    fixed = run.network.whitening.weight.clone()
    assert not torch.equal(before, fixed)
    finish(run, data)
    run.prepare(data[1], data[1])  # of other images, and too late
    assert torch.equal(run.network.whitening.weight, fixed)


def in_training(network):
    """Return whether the batch norms use the batch, as in PreciseBN too."""
    return any(layer.training for layer in network.modules())


def test_the_curriculum_grows_from_24_to_32_pixels(data):
    run = TrainingRun(narrow("air94"), 7, CPU)
    run.prepare(data[0], data[1])
    sides = []
    hook = run.network.register_forward_pre_hook(
        lambda network, x: sides.append(x[0].shape[-1]) if in_training(network) else None
    )
    finish(run, data)
    hook.remove()
    steps = EPOCHS * IMAGES // BATCH
    assert sides[:steps] == [24] * 6 + [28] * 5 + [32] * 4  # until .4 and .7 of 15 steps
    assert set(sides[steps:]) == {32}  # PreciseBN


def test_bfloat16_learns_with_weights_and_statistics_in_float32(data):
    run = trained(narrow("air94"), data, precision=torch.bfloat16)
    assert run.result.single_view_accuracy > 0.5
    assert {t.dtype for t in run.network.state_dict().values()} == {torch.float32, torch.int64}
    assert not same(run, trained(narrow("air94"), data))


class Narrow(torch.nn.Module):
    """What an air network has at its end: a maximum over the map, whose gradient looks for ties."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3)
        self.head = torch.nn.Linear(8, 10, bias=False)

    def forward(self, x):
        return self.head(torch.nn.functional.gelu(self.conv(x)).amax(dim=(2, 3)))


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles CPU kernels with g++")
def test_a_compiled_step_has_the_gradients_of_the_eager_one(data):
    images = data[0].images[:BATCH].float().contiguous(memory_format=torch.channels_last) / 255
    gradients = []
    for compiled in (False, True):
        torch.manual_seed(0)
        network = Narrow()
        forward = compile_step(network) if compiled else network
        with torch.autocast("cpu", torch.bfloat16):
            logits = forward(images).float()
        torch.nn.functional.cross_entropy(logits, data[0].labels[:BATCH]).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert gradients[1].isfinite().all()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.05, atol=0.001)
    assert gradients[0].abs().max() > 0.01


def test_more_epochs_are_another_run_where_the_schedule_spans_it(data, tmp_path):
    recipe = narrow("air94")
    directory = RunDirectory(tmp_path)
    directory.save(TrainingRun(recipe, 7, CPU))
    longer = TrainingRun(replace(recipe, epochs=9), 7, CPU)
    with pytest.raises(Exception, match="its epochs is 3, here it is 9"):
        directory.open(longer, resume=True)
