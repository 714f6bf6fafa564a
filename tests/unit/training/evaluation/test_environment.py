"""The provenance of a run: plain values that a checkpoint and a manifest can hold."""

import json
import re
from datetime import datetime

import torch

from training.evaluation.environment import (
    describe_environment,
    hardware_name,
    source_commit,
    vector_instructions,
)

CPU = torch.device("cpu")


def test_the_description_is_plain_json():
    described = describe_environment(CPU)
    assert described == json.loads(json.dumps(described))
    assert all(type(version) is str for version in described["versions"].values())
    assert datetime.fromisoformat(described["started"]).tzinfo is not None
    assert described["threads"] == torch.get_num_threads()


def test_a_processor_is_named_with_its_cores():
    assert re.fullmatch(r".+, \d+ cores", hardware_name(CPU))


def test_outside_a_checkout_there_is_no_commit(tmp_path):
    assert source_commit(tmp_path) is None


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert source_commit() is None


def test_the_instructions_are_those_that_integer_kernels_use():
    flags = ["fpu", "sse2", "avx2", "avx512f", "avx512_vnni", "clzero"]
    assert vector_instructions(flags) == ["avx2", "avx512f", "avx512_vnni"]
