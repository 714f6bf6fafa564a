from __future__ import annotations

import socket
import sys
from contextlib import closing

import pytest

from service.processes.sockets import (
    accept_new_connections,
    bind_standby,
    open_listeners,
    port_of,
    refuse_new_connections,
    url_of,
)

HOST = "127.0.0.1"
ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")


def has_ipv6() -> bool:
    try:
        with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            return True
    except OSError:
        return False


def accepted(listener: socket.socket) -> int:
    """How many connections wait; they are closed."""
    listener.setblocking(False)
    number = 0
    try:
        while True:
            listener.accept()[0].close()
            number += 1
    except BlockingIOError:
        return number


def connect(port: int, host: str = HOST) -> None:
    socket.create_connection((host, port), 0.3).close()


def test_connections_are_spread_over_the_sockets_of_one_port() -> None:
    first, second = open_listeners(HOST, 0, 2)
    with closing(first), closing(second):
        assert port_of(first) == port_of(second)
        for _ in range(64):
            connect(port_of(first))
        shares = accepted(first), accepted(second)
    assert sum(shares) == 64
    assert min(shares) > 0


@pytest.mark.parametrize("count", [1, 2])
def test_a_second_service_on_the_port_names_the_address_that_is_taken(count: int) -> None:
    first, second = open_listeners(HOST, 0, 2)
    with (
        closing(first),
        closing(second),
        pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1 port {port_of(first)}: Addr"),
    ):
        open_listeners(HOST, port_of(first), count)


def test_a_port_is_free_again_when_its_sockets_are_closed() -> None:
    (listener,) = open_listeners(HOST, 0, 1)
    port = port_of(listener)
    connect(port)
    listener.close()
    (again,) = open_listeners(HOST, port, 1)
    again.close()


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1 port 0: .*--host"):
        open_listeners("192.0.2.1", 0, 1)


def test_a_standby_socket_gets_nothing_until_it_listens() -> None:
    first, second = open_listeners(HOST, 0, 2)
    with closing(first), closing(bind_standby(HOST, port_of(first))) as waiting:
        second.close()
        for _ in range(32):
            connect(port_of(first))
        assert accepted(first) == 32
        waiting.listen()
        for _ in range(64):
            connect(port_of(first))
        assert accepted(waiting) > 0


@ONLY_LINUX
def test_new_connections_are_dropped_and_waiting_ones_are_not() -> None:
    (listener,) = open_listeners(HOST, 0, 1)
    with closing(listener):
        connect(port_of(listener))
        refuse_new_connections(listener)
        with pytest.raises(TimeoutError):
            connect(port_of(listener))
        assert accepted(listener) == 1


@ONLY_LINUX
def test_new_connections_are_accepted_again_however_often_that_is_asked() -> None:
    (listener,) = open_listeners(HOST, 0, 1)
    with closing(listener):
        refuse_new_connections(listener)
        accept_new_connections(listener)
        accept_new_connections(listener)
        connect(port_of(listener))
        assert accepted(listener) == 1


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_shown_in_brackets_and_means_ipv4_too_if_it_is_every_one() -> None:
    first, second = open_listeners("::", 0, 2)
    with closing(first), closing(second):
        assert url_of("::1", first) == f"http://[::1]:{port_of(first)}"
        connect(port_of(first), "::1")
        connect(port_of(first), HOST)
        assert accepted(first) + accepted(second) == 2
