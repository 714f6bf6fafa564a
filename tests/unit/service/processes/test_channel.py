from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from service.processes.channel import Line

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[Line, socket.socket]]:
    ours, theirs = socket.socketpair()
    line = Line(ours)
    yield line, theirs
    line.close()
    theirs.close()


def test_messages_come_as_they_were_sent(ends: tuple[Line, socket.socket]) -> None:
    line, peer = ends
    peer.sendall(b'{"kind": "serving"}\n{"kind": "prepared", "number": 1}\n')
    assert line.receive() == [{"kind": "serving"}, {"kind": "prepared", "number": 1}]
    assert not line.ended


def test_half_a_message_waits_for_its_other_half(ends: tuple[Line, socket.socket]) -> None:
    line, peer = ends
    peer.sendall(b'{"kind": "ser')
    assert line.receive() == []
    peer.sendall(b'ving"}\n')
    assert line.receive() == [{"kind": "serving"}]


def test_nothing_to_read_is_no_end_and_no_wait(ends: tuple[Line, socket.socket]) -> None:
    line, _ = ends
    assert line.receive() == []
    assert not line.ended


def test_the_last_words_of_a_process_are_heard_and_half_a_word_is_not(
    ends: tuple[Line, socket.socket],
) -> None:
    line, peer = ends
    peer.sendall(b'{"kind": "failed"}\n{"kind": "se')
    peer.close()
    assert line.receive() == [{"kind": "failed"}]
    assert line.ended


def test_a_message_longer_than_one_read_comes_whole(ends: tuple[Line, socket.socket]) -> None:
    line, peer = ends
    text = "x" * 100_000
    peer.sendall(f'{{"reason": "{text}"}}\n'.encode())
    assert line.receive() == [{"reason": text}]


def test_telling_a_dead_process_ends_the_line(ends: tuple[Line, socket.socket]) -> None:
    line, peer = ends
    line.send({"kind": "prepare"})
    assert not line.ended
    peer.close()
    line.send({"kind": "commit"})
    assert line.ended


def test_a_process_that_reads_nothing_does_not_stop_the_supervisor(
    ends: tuple[Line, socket.socket],
) -> None:
    line, _ = ends
    for _ in range(1000):
        line.send({"kind": "prepare", "name": "x" * 10_000})
    assert line.ended
