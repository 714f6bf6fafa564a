"""Which device and number format are chosen, and the memory that a run keeps."""

import pytest
import torch

from training.errors import TrainingError
from training.recipes import load_recipe
from training.trainer.device import (
    BFLOAT16_INSTRUCTIONS,
    check_compiler,
    choose_device,
    choose_precision,
    keep_freed_memory,
    precision_warning,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        ("fma avx2 avx512_bf16", True),
        ("amx_bf16 amx_tile", True),
        ("fma avx2 avx512f", False),
        ("avx512_bf16x", False),
    ],
)
def test_a_processor_that_widens_every_number_keeps_float32(flags, fast):
    chosen = choose_precision(None, load_recipe("air94"), CPU, flags.split())
    assert chosen is (torch.bfloat16 if fast else torch.float32)


def test_the_keras_pair_is_float32_everywhere():
    keras = load_recipe("keras-bn")
    assert choose_precision(None, keras, CPU, BFLOAT16_INSTRUCTIONS) is torch.float32
    assert choose_precision("bfloat16", keras, CPU) is torch.bfloat16
    assert choose_precision("float32", load_recipe("air94"), CPU) is torch.float32


def test_a_precision_that_is_only_emulated_is_said_to_be_slow():
    warning = precision_warning("bfloat16", CPU, ["fma", "avx2"])
    assert "cpu has no instructions for bfloat16" in warning
    assert "--precision float32" in warning
    assert precision_warning("bfloat16", CPU, ["avx512_bf16"]) is None
    assert precision_warning("float32", CPU, []) is None


def test_an_unknown_precision_is_named():
    with pytest.raises(TrainingError, match="'int4' is not known; take one of float32, bfloat16"):
        choose_precision("int4", load_recipe("air94"), CPU)


def test_freed_memory_is_kept_where_there_is_glibc(monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    assert keep_freed_memory() is False


def test_auto_takes_what_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "", "meta", "mps:7", "cpu:x", "cuda:99"])
def test_a_device_that_cannot_train_is_one_clear_line(name):
    with pytest.raises(TrainingError, match=f"device '{name}' cannot be used.*--device cpu") as got:
        choose_device(name)
    assert "\n" not in str(got.value)


def test_a_machine_without_a_compiler_is_told_so_in_one_line(monkeypatch):
    def fails(_function):
        raise RuntimeError("InvalidCxxCompiler: no g++\nand much more")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(
        TrainingError, match=r"for cpu here \(InvalidCxxCompiler: no g\+\+\)"
    ) as told:
        check_compiler(CPU)
    assert "\n" not in str(told.value)
