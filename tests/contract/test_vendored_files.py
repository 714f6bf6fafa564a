"""Others' code for the browser is what the lock says, with its licence, and nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from service.api.page.vendoring import FOLDER, LICENCES, VendoringError, locked_files


def test_every_file_is_the_locked_one_and_has_its_licence() -> None:
    files = locked_files()
    for file in files:
        content = (FOLDER / file.name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256, file.name
        assert (FOLDER / LICENCES / f"{file.package}.txt").stat().st_size > 500
    there = {path.name for path in FOLDER.iterdir()}
    assert there == {file.name for file in files} | {"VENDOR.toml", LICENCES}


def test_a_file_that_comes_out_otherwise_is_refused() -> None:
    hooks = next(file for file in locked_files() if file.replace)
    original = (FOLDER / hooks.name).read_bytes().replace(b'"./preact.mjs"', b'"preact"')
    assert hooks.made_of(original) == (FOLDER / hooks.name).read_bytes()
    with pytest.raises(VendoringError, match="comes out as"):
        hooks.made_of(original + b"\n")
    with pytest.raises(VendoringError, match="is not in hooks/dist"):
        hooks.made_of(b"something else")
    with pytest.raises(VendoringError, match=r"VENDOR\.toml says nothing"):
        replace(hooks, sha256="").made_of(original)
