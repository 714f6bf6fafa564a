"""`foldnorm fetch`, with a dataset of a few bytes in the published one's place."""

import hashlib
import io
import tarfile

import pytest
from typer.testing import CliRunner

from training.cli import fetch as command
from training.cli.app import app
from training.data.cifar10 import FOLDER
from training.data.download import Archive, is_complete

FILES = {"test_batch": b"some images"}


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An archive at hand that counts as the published one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    content = buffer.getvalue()
    published = Archive(
        "http://127.0.0.1:9/x.gz",
        md5(content),
        len(content),
        {name: md5(data) for name, data in FILES.items()},
    )
    monkeypatch.setattr(command, "CIFAR10", published)
    path = tmp_path / "mine.tar.gz"
    path.write_bytes(content)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["fetch", *map(str, arguments)])


def test_an_archive_at_hand_becomes_the_dataset(archive, tmp_path):
    result = run("--data-dir", tmp_path / "data", "--archive", archive)
    assert (0, f"{tmp_path}/data/{FOLDER} is complete\n") == (result.exit_code, result.stdout)
    assert (tmp_path / "data" / FOLDER / "test_batch").read_bytes() == FILES["test_batch"]
    assert is_complete(tmp_path / "data" / FOLDER, command.CIFAR10)


def test_a_complete_dataset_is_left_alone_even_without_a_network(archive, tmp_path):
    run("--data-dir", tmp_path, "--archive", archive)
    before = (tmp_path / FOLDER).stat().st_mtime_ns
    result = run("--data-dir", tmp_path)
    assert result.exit_code == 0
    assert "every checksum is the published one" in result.stdout
    assert (tmp_path / FOLDER).stat().st_mtime_ns == before


def test_a_complete_dataset_may_be_linked_or_named_itself(archive, tmp_path):
    run("--data-dir", tmp_path, "--archive", archive)
    (tmp_path / FOLDER / "test_batch").chmod(0o400)
    (tmp_path / FOLDER).chmod(0o500)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / FOLDER).symlink_to(tmp_path / FOLDER)
    for named in (elsewhere, tmp_path / FOLDER):
        result = run("--data-dir", named)
        assert result.exit_code == 0
        assert "every checksum is the published one" in result.stdout
    (tmp_path / FOLDER).chmod(0o700)


def test_ctrl_c_says_that_what_has_come_is_kept(archive, tmp_path, monkeypatch):
    def interrupted(_data_dir, report, _archive):
        report(3)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "fetch_dataset", interrupted)
    result = run("--data-dir", tmp_path)
    assert result.exit_code == 130
    assert result.stderr == "stopped; what has come is kept, the same command goes on from it\n"
