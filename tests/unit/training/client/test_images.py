"""Files, folders and standard input."""

import io

import pytest

from training.client import images as module
from training.client.errors import RequestError
from training.client.images import ImageFile, expand, halves, read_images, requests_of


@pytest.fixture
def folder(tmp_path):
    for name in ("b.PNG", "a.jpg", "cats/c.webp", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def test_a_folder_stands_for_the_images_below_it_in_order(folder):
    expected = [str(folder / name) for name in ("a.jpg", "b.PNG", "cats/c.webp")]
    assert expand([str(folder)]) == expected


def test_a_file_is_taken_whatever_its_name_ends_in(folder):
    assert expand([str(folder / "notes.txt"), "-"]) == [str(folder / "notes.txt"), "-"]


def test_what_is_not_there_is_named(folder):
    with pytest.raises(RequestError, match=r"there is no file 'no-such\.png'"):
        expand([str(folder), "no-such.png"])


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(RequestError, match=r"no image in the folder .*end in \.bmp, \.gif, \.jpeg"):
        expand([str(tmp_path)])


def test_files_and_standard_input_are_read_as_bytes(folder, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xd8")))
    read = list(read_images(["-", str(folder / "a.jpg")]))
    assert read == [ImageFile("-", b"\xff\xd8"), ImageFile(str(folder / "a.jpg"), b"a.jpg")]


def test_an_empty_file_and_one_too_large_are_refused(tmp_path, monkeypatch):
    (tmp_path / "empty.png").touch()
    with pytest.raises(RequestError, match=r"empty\.png is empty"):
        list(read_images([str(tmp_path / "empty.png")]))
    monkeypatch.setattr(module, "MAX_BYTES", module.ENVELOPE_BYTES + 10)
    path = tmp_path / "large.png"
    path.write_bytes(bytes(10))
    assert len(list(read_images([str(path)]))) == 1
    path.write_bytes(bytes(11))
    with pytest.raises(RequestError, match="more than 10 bytes"):
        list(read_images([str(path)]))


def sized(*sizes):
    return [ImageFile(str(k), bytes(size)) for k, size in enumerate(sizes)]


def test_a_request_has_at_most_64_images():
    assert [len(group) for group in requests_of(sized(*[1] * 130))] == [64, 64, 2]


def test_a_request_stays_within_the_bytes_of_a_body():
    third = module.MAX_BYTES // 3
    assert [len(group) for group in requests_of(sized(*[third] * 5))] == [2, 2, 1]
    fits = third - module.ENVELOPE_BYTES
    assert [len(group) for group in requests_of(sized(*[fits] * 5))] == [3, 2]


def test_both_halves_are_the_whole():
    images = sized(1, 2, 3)
    first, second = halves(images)
    assert [*first, *second] == images
    assert [len(first), len(second)] == [1, 2]
