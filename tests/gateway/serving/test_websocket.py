"""WebSockets of a client that others wrote: messages, goodbyes, what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tongqu.gateway.manners import Cors
from tongqu.gateway.site import Stages
from tongqu.testing.echo_site import echo_site
from tongqu.testing.running_site import RunningSite

PAGE = "https://portal.example"


@pytest.fixture
def running() -> Iterator[RunningSite]:
    with RunningSite(lambda: echo_site(Stages(cors=Cors(frozenset([PAGE]))))) as site:
        yield site


def place(running: RunningSite, path: str = "/echo") -> str:
    return running.url.replace("http", "ws") + path


def test_messages_go_both_ways(running: RunningSite) -> None:
    with connect(place(running), compression=None) as socket:
        for text in ("one", "批号", "x" * 60_000):
            socket.send(text)
            assert socket.recv(10) == f"anonymous: {text}"


def test_a_long_message_may_come_in_fragments(running: RunningSite) -> None:
    with connect(place(running)) as socket:
        socket.send(["a", "b", "c"])
        assert socket.recv(10) == "anonymous: abc"


@pytest.mark.parametrize(("message", "code"), [(b"binary", 1003), ("x" * 70_000, 1009)])
def test_what_is_not_taken_ends_it_with_the_fitting_code(running: RunningSite, message: str | bytes, code: int) -> None:
    with connect(place(running)) as socket:
        socket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code


def test_pages_of_other_origins_are_refused_before_the_handshake(running: RunningSite) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(place(running), origin=Origin("https://evil.example"))
    assert refused.value.response.status_code == 403
    with connect(place(running), origin=Origin(PAGE)) as socket:
        socket.send("hello")
        assert socket.recv(10) == "anonymous: hello"


def test_where_nobody_speaks_it_there_is_nothing(running: RunningSite) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(place(running, "/nothing"))
    assert refused.value.response.status_code == 404


def test_callers_are_told_when_the_server_goes(running: RunningSite) -> None:
    with connect(place(running)) as socket:
        socket.send("hello")
        socket.recv(10)
        running.stop()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
    assert running.whole


HELLO = (
    b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def test_who_asks_for_pongs_and_reads_none_is_cut(running: RunningSite) -> None:
    with running.connect() as line:
        line.sendall(HELLO)
        assert b"101" in line.recv(1000)
        pings = (b"\x89\xfd" + b"\0" * 4 + b"x" * 125) * 1000
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                line.sendall(pings)


def test_empty_fragments_add_up_to_nothing(running: RunningSite) -> None:
    with running.connect() as line:
        line.sendall(HELLO)
        assert b"101" in line.recv(1000)
        line.sendall(b"\x01\x81\0\0\0\0a" + b"\x00\x80\0\0\0\0" * 50_000 + b"\x80\x81\0\0\0\0b")
        assert line.recv(1000).endswith(b"anonymous: ab")
