"""An artifact's folder is whole, or it is not there."""

import pytest

from training.errors import ExportError
from training.release.folder import free_place, new_folder


def test_the_folder_has_its_name_once_it_is_whole(tmp_path):
    with new_folder(tmp_path / "net-1.0.0") as temporary:
        (temporary / "model.onnx").write_bytes(b"graph")
        assert not (tmp_path / "net-1.0.0").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["net-1.0.0"]
    assert (tmp_path / "net-1.0.0" / "model.onnx").read_bytes() == b"graph"


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("wrong")])
def test_a_failed_release_leaves_nothing_behind(tmp_path, error):
    with pytest.raises((ExportError, ValueError)) as failed, new_folder(tmp_path / "net-1.0.0"):
        raise error
    if isinstance(error, OSError):
        assert "cannot write" in str(failed.value)
        assert "disk full; make room" in str(failed.value)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_release_left_is_cleared_away(tmp_path):
    (tmp_path / ".net-1.0.0.partial").mkdir()
    (tmp_path / ".net-1.0.0.partial" / "old").touch()
    with new_folder(tmp_path / "net-1.0.0") as temporary:
        assert list(temporary.iterdir()) == []


def test_a_release_is_never_replaced(tmp_path):
    (tmp_path / "net-1.0.0").mkdir()
    with pytest.raises(ExportError, match=r"exists, and a release is never changed; raise --vers"):
        free_place(tmp_path, "net", "1.0.0")


@pytest.mark.parametrize("version", ["v1", "1.0", "../1.0.0"])
def test_a_version_that_cannot_be_loaded_is_refused(tmp_path, version):
    with pytest.raises(ExportError, match=r"must be like 1\.0\.0"):
        free_place(tmp_path, "net", version)
