"""Downloads from a real server on loopback: whole, resumed, cut short and wrong."""

import hashlib
import io
import resource
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from training.data.cifar10 import FOLDER
from training.data.download import Archive, fetch_dataset, is_complete, unpack
from training.errors import DataError

FILES = {"data_batch_1": b"one" * 50_000, "test_batch": b"two" * 30_000}


def md5(content):
    return hashlib.md5(content).hexdigest()


def packed(files, extra=(), links=None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as tar:
        for name, content in [*((f"{FOLDER}/{n}", c) for n, c in files.items()), *extra]:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return buffer.getvalue()


CONTENT = packed(FILES)


def archive(url="http://127.0.0.1:9/none.tar.gz", content=CONTENT, files=FILES):
    checksums = {name: md5(data) for name, data in files.items()}
    return Archive(url, md5(content), len(content), checksums)


class Server(ThreadingHTTPServer):
    """Serves one file; knows ranges or not, and may cut the first answers short."""

    def __init__(self, content, *, ranges=True, cut_after=None, status=None, **answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges, self.cut_after, self.status = content, ranges, cut_after, status
        self.status_of_ranges, self.greeting = None, answer.get("greeting")
        self.kind, self.length = answer.get("kind"), answer.get("length", True)
        self.requested = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/cifar.tar.gz"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.requested.append(wanted)
        if self.server.greeting is not None:
            self.wfile.write(self.server.greeting)
            return
        status = self.server.status_of_ranges if wanted else self.server.status
        if status is not None:
            self.send_error(status)
            return
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        first = first if self.server.ranges else 0
        body = self.server.content[first:]
        self.send_response(206 if first else 200)
        if self.server.length:
            self.send_header("Content-Length", str(len(body)))
        if self.server.kind:
            self.send_header("Content-Type", self.server.kind)
        self.end_headers()
        cut, self.server.cut_after = self.server.cut_after, None
        self.wfile.write(body[:cut])

    def log_message(self, *_):
        pass


@contextmanager
def serving(content=CONTENT, **options):
    with Server(content, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def fetch(data_dir, source):
    seen = []
    folder = fetch_dataset(data_dir, seen.append, source)
    return folder, seen


def test_the_files_arrive_and_nothing_else_stays(tmp_path):
    with serving() as server:
        folder, seen = fetch(tmp_path / "new", archive(server.url))
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert [folder] == list((tmp_path / "new").iterdir())
    assert [0, len(CONTENT)] == [seen[0], seen[-1]]
    assert is_complete(folder, archive())
    (folder / "test_batch").write_bytes(b"damaged")
    assert not is_complete(folder, archive())


def test_a_download_that_broke_off_goes_on_where_it_stood(tmp_path):
    with serving(cut_after=100_000) as server:
        source = archive(server.url)
        with pytest.raises(DataError, match="the same command goes on"):
            fetch(tmp_path, source)
        assert not (tmp_path / FOLDER).exists()
        (partial,) = tmp_path.iterdir()
        kept = partial.stat().st_size
        assert 0 < kept < len(CONTENT)
        _, seen = fetch(tmp_path, source)
        assert [None, f"bytes={kept}-"] == server.requested
    assert seen[0] == kept
    assert is_complete(tmp_path / FOLDER, source)


def test_a_server_without_ranges_is_asked_from_the_start(tmp_path):
    with serving(ranges=False, cut_after=100_000) as server:
        source = archive(server.url)
        with pytest.raises(DataError):
            fetch(tmp_path, source)
        _, seen = fetch(tmp_path, source)
    assert seen[0] == 0
    assert is_complete(tmp_path / FOLDER, source)


def test_another_file_is_refused_and_deleted(tmp_path):
    with (
        serving(CONTENT[:-1] + b"x") as server,
        pytest.raises(DataError, match=f"the published archive has {archive().md5}"),
    ):
        fetch(tmp_path, archive(server.url))
    assert list(tmp_path.iterdir()) == []


def test_a_larger_file_is_not_read_to_its_end(tmp_path):
    with (
        serving(CONTENT + bytes(50_000_000), length=False) as server,
        pytest.raises(DataError, match="published archive"),
    ):
        fetch(tmp_path, archive(server.url))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [404, 500])
def test_an_http_error_names_the_address_and_the_other_way(tmp_path, status):
    with (
        serving(status=status) as server,
        pytest.raises(DataError, match=rf"cannot download {server.url} .*--archive"),
    ):
        fetch(tmp_path, archive(server.url))


def test_no_connection_is_one_clear_line(tmp_path):
    with pytest.raises(DataError, match="cannot download") as caught:
        fetch(tmp_path, archive())
    assert "\n" not in str(caught.value)


def test_an_archive_at_hand_is_unpacked_and_kept(tmp_path):
    at_hand = tmp_path / "mine.tar.gz"
    at_hand.write_bytes(CONTENT)
    folder = unpack(at_hand, tmp_path, archive())
    assert is_complete(folder, archive())
    assert at_hand.exists()


def test_members_that_are_not_expected_stay_in_the_archive(tmp_path):
    content = packed(FILES, extra=[("../escaped", b"x"), (f"{FOLDER}/more", b"y")])
    at_hand = tmp_path / "deep" / "mine.tar.gz"
    at_hand.parent.mkdir()
    at_hand.write_bytes(content)
    folder = unpack(at_hand, tmp_path / "deep", archive(content=content))
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    ("content", "files"),
    [
        (b"no archive at all", FILES),
        (CONTENT[:-200_000], FILES),
        (packed({"data_batch_1": b"one"}), FILES),
        (packed({**FILES, "test_batch": b"changed"}), FILES),
    ],
    ids=["no archive", "truncated", "a file missing", "a file changed"],
)
def test_a_broken_archive_leaves_the_old_files_in_place(tmp_path, content, files):
    old = tmp_path / FOLDER
    old.mkdir()
    (old / "data_batch_1").write_bytes(b"old")
    at_hand = tmp_path / "mine.tar.gz"
    at_hand.write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.tar\.gz"):
        unpack(at_hand, tmp_path, archive(content=content, files=files))
    assert (old / "data_batch_1").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {FOLDER, "mine.tar.gz"}


@pytest.mark.parametrize("place", ["gone.tar.gz", "."])
def test_what_is_no_archive_is_named(tmp_path, place):
    with pytest.raises(DataError, match=rf"cannot read {tmp_path / place} .*name the archive's"):
        unpack(tmp_path / place, tmp_path, archive())


def test_a_link_to_files_that_are_not_whole_is_refused_before_anything_is_downloaded(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / FOLDER).symlink_to(elsewhere)
    with (
        serving() as server,
        pytest.raises(DataError, match=rf"{FOLDER} is a link or a file, .*; remove it"),
    ):
        fetch(tmp_path, archive(server.url))
    assert server.requested == []
    assert {FOLDER, "elsewhere"} == {path.name for path in tmp_path.iterdir()}


def test_a_wrong_beginning_is_not_kept_and_the_next_call_brings_the_whole(tmp_path):
    with serving() as server:
        source = archive(server.url)
        (tmp_path / ".cifar.tar.gz.partial").write_bytes(CONTENT[:2] + b"of another archive")
        with pytest.raises(DataError, match="it was deleted, try again"):
            fetch(tmp_path, source)
        assert list(tmp_path.iterdir()) == []
        fetch(tmp_path, source)
    assert is_complete(tmp_path / FOLDER, source)


def test_a_login_page_is_not_kept_and_one_that_was_is_not_gone_on_with(tmp_path):
    page = b"<html>log in</html>"
    with serving(page, kind="text/html") as server:
        with pytest.raises(DataError, match=r"text/html of 19 bytes.*login page.*Nothing of it"):
            fetch(tmp_path, archive(server.url))
        assert list(tmp_path.iterdir()) == []
    (tmp_path / ".cifar.tar.gz.partial").write_bytes(page)
    with serving() as server:
        source = archive(server.url)
        fetch(tmp_path, source)
        assert server.requested == [None]
    assert is_complete(tmp_path / FOLDER, source)


def test_a_partial_file_longer_than_the_servers_is_fetched_anew(tmp_path):
    with serving() as server:
        source = archive(server.url)
        (tmp_path / ".cifar.tar.gz.partial").write_bytes(CONTENT[:2] + bytes(len(CONTENT) - 3))
        server.status_of_ranges = 416
        fetch(tmp_path, source)
    assert [f"bytes={len(CONTENT) - 1}-", None] == server.requested
    assert is_complete(tmp_path / FOLDER, source)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "cifar",
        "http://",
        "http://[::1/x.gz",
        "http://127.0.0.1:port/x",
        "http://127.0.0.1:99999/x",
        "http://a b/x",
        "http://127.0.0.1/é",
    ],
)
def test_an_address_that_cannot_be_is_refused(tmp_path, url):
    with pytest.raises(DataError, match="give an http or https address"):
        fetch(tmp_path / "new", archive(url))
    assert not (tmp_path / "new").exists()


def test_an_answer_that_is_no_http_is_one_clear_line(tmp_path):
    with (
        serving(greeting=b"SSH-2.0-OpenSSH_9.9\r\n") as server,
        pytest.raises(DataError, match=f"cannot download {server.url}"),
    ):
        fetch(tmp_path, archive(server.url))


@pytest.fixture
def full_disk():
    """No file may grow beyond 100,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_clear_line_and_no_dataset(tmp_path, full_disk):
    with (
        serving() as server,
        pytest.raises(DataError, match=f"cannot write to {tmp_path}: File too large; make room"),
    ):
        fetch(tmp_path, archive(server.url))
    assert not (tmp_path / FOLDER).exists()


def test_a_disk_that_is_full_while_unpacking_leaves_the_old_files(tmp_path, request):
    at_hand = tmp_path / "mine.tar.gz"
    at_hand.write_bytes(CONTENT)
    old = tmp_path / FOLDER
    old.mkdir()
    request.getfixturevalue("full_disk")
    with pytest.raises(DataError, match=f"cannot write to {tmp_path}"):
        unpack(at_hand, tmp_path, archive())
    assert {FOLDER, "mine.tar.gz"} == {path.name for path in tmp_path.iterdir()}
    assert list(old.iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_refused(tmp_path):
    content = packed({"data_batch_1": FILES["data_batch_1"]}, links={"test_batch": "/etc/passwd"})
    at_hand = tmp_path / "mine.tar.gz"
    at_hand.write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.tar\.gz"):
        unpack(at_hand, tmp_path, archive(content=content))
    assert not (tmp_path / FOLDER).exists()


def test_what_else_lies_in_the_folder_stays(tmp_path):
    old = tmp_path / FOLDER
    old.mkdir()
    (old / "notes.txt").write_text("mine")
    (old / "test_batch").write_bytes(b"damaged")
    at_hand = tmp_path / "mine.tar.gz"
    at_hand.write_bytes(CONTENT)
    unpack(at_hand, tmp_path, archive())
    assert (old / "notes.txt").read_text() == "mine"
    assert is_complete(old, archive())
