"""Which number format is chosen, and the memory that a run keeps."""

import pathlib

import pytest
import torch

from training.errors import TrainingError
from training.recipes.recipe import load_recipe
from training.trainer import device
from training.trainer.device import choose_precision, has_fast_bfloat16, keep_freed_memory

CPU = torch.device("cpu")


def cpuinfo(monkeypatch, flags):
    monkeypatch.setattr(
        pathlib.Path, "read_text", lambda *_a, **_k: f"model name : x\nflags : {flags}\n"
    )


@pytest.mark.skipif(not pathlib.Path("/proc/cpuinfo").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        ("fma avx2 avx512_bf16", True),
        ("amx_bf16 amx_tile", True),
        ("fma avx2 avx512f", False),
        ("avx512_bf16x", False),
    ],
)
def test_a_processor_that_widens_every_number_keeps_float32(monkeypatch, flags, fast):
    recipe = load_recipe("air94")
    cpuinfo(monkeypatch, flags)
    assert has_fast_bfloat16(CPU) is fast
    assert choose_precision(None, recipe, CPU) is (torch.bfloat16 if fast else torch.float32)


def test_the_keras_pair_is_float32_everywhere(monkeypatch):
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda _: True)
    assert choose_precision(None, load_recipe("keras-bn"), CPU) is torch.float32
    assert choose_precision("bfloat16", load_recipe("keras-bn"), CPU) is torch.bfloat16
    assert choose_precision("float32", load_recipe("air94"), CPU) is torch.float32


def test_an_unknown_precision_is_named():
    with pytest.raises(TrainingError, match="'int4' is not known; take one of float32, bfloat16"):
        choose_precision("int4", load_recipe("air94"), CPU)


def test_freed_memory_is_kept_where_there_is_glibc(monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    assert keep_freed_memory() is False
