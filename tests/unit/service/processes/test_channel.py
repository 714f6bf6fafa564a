from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from service.processes.channel import Channel

Ends = tuple[Channel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def test_messages_come_as_they_were_sent(ends: Ends) -> None:
    channel, peer = ends
    peer.sendall(b'{"kind": "serving"}\n{"kind": "prepared", "number": 1}\n')
    assert channel.receive() == [{"kind": "serving"}, {"kind": "prepared", "number": 1}]
    assert not channel.ended


def test_half_a_message_waits_for_its_other_half(ends: Ends) -> None:
    channel, peer = ends
    peer.sendall(b'{"kind": "ser')
    assert channel.receive() == []
    peer.sendall(b'ving"}\n')
    assert channel.receive() == [{"kind": "serving"}]


def test_nothing_to_read_is_no_end_and_no_wait(ends: Ends) -> None:
    channel, _ = ends
    assert channel.receive() == []
    assert not channel.ended


def test_the_last_messages_of_a_process_are_received_and_half_a_message_is_not(ends: Ends) -> None:
    channel, peer = ends
    peer.sendall(b'{"kind": "failed"}\n{"kind": "se')
    peer.close()
    assert channel.receive() == [{"kind": "failed"}]
    assert channel.ended


def test_a_message_longer_than_one_read_comes_whole(ends: Ends) -> None:
    channel, peer = ends
    text = "x" * 100_000
    peer.sendall(f'{{"reason": "{text}"}}\n'.encode())
    assert channel.receive() == [{"reason": text}]


def test_sending_to_a_dead_process_ends_the_channel(ends: Ends) -> None:
    channel, peer = ends
    channel.send({"kind": "prepare"})
    assert not channel.ended
    peer.close()
    channel.send({"kind": "commit"})
    assert channel.ended


def test_a_process_that_reads_nothing_does_not_stop_the_supervisor(ends: Ends) -> None:
    channel, _ = ends
    for _ in range(1000):
        channel.send({"kind": "prepare", "name": "x" * 10_000})
    assert channel.ended
