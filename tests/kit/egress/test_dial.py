"""Opening connections: pinned addresses, time limits, and the stages of a check."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tongqu.core.errors import ConnectError, EgressRefusedError
from tongqu.kit.egress.dial import Egress
from tongqu.kit.egress.policy import Grant
from tongqu.testing.services import FaultProxy


@pytest.fixture
def greeter() -> Iterator[socket.socket]:
    """A server on loopback that says hello to everybody and remembers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_greet, args=(server,), daemon=True).start()
        yield server
        server.shutdown(socket.SHUT_RDWR)


def _greet(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            guest, _ = server.accept()
            guest.sendall(b"hello")
            guest.close()


class Rebinding:
    """A name server that answers with a public address first and with loopback ever after."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[str]:
        del host, port
        self.asked += 1
        return ["192.0.2.1"] if self.asked == 1 else ["127.0.0.1"]


def test_a_connection_goes_to_the_address_that_was_checked(greeter: socket.socket) -> None:
    way = Egress(resolver=lambda host, port: ["127.0.0.1"])
    with way.connect("db.plant", greeter.getsockname()[1], 5) as opened:
        assert opened.recv(5) == b"hello"
        assert opened.gettimeout() is None


def test_the_next_address_is_tried_when_one_does_not_answer(greeter: socket.socket) -> None:
    way = Egress(resolver=lambda host, port: ["127.0.0.2", "127.0.0.1"])
    with way.connect("db.plant", greeter.getsockname()[1], 5) as opened:
        assert opened.recv(5) == b"hello"


def test_a_name_that_is_rebound_leads_nowhere() -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        names = Rebinding()
        way = Egress(resolver=names)
        port = canary.getsockname()[1]
        for _ in range(3):  # each connection asks once and checks what it was told
            with pytest.raises(EgressRefusedError):
                way.connect("rebound.example", port, 1, Grant.DATA)
        assert names.asked == 3
        with pytest.raises(BlockingIOError):
            canary.accept()


def test_the_first_answer_is_the_only_one() -> None:
    names = Rebinding()
    pinned = Egress(resolver=names).addresses("rebound.example", 443)
    assert [str(one.address) for one in pinned] == ["192.0.2.1"]
    assert names.asked == 1


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("127.0.0.1", 1, "tcp: 127.0.0.1:1 does not answer: connection refused"),
        ("nowhere.invalid", 80, "dns: the name"),
    ],
)
def test_what_does_not_answer_is_told_with_its_stage(host: str, port: int, words: str) -> None:
    with pytest.raises(ConnectError) as failed:
        list(Egress().stages(host, port, seconds=5))
    assert failed.value.message.startswith(words)
    assert failed.value.hint
    assert failed.value.retryable


def test_a_name_server_that_hangs_is_given_up() -> None:
    forever = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        del host, port
        forever.wait(20)
        return []

    with pytest.raises(ConnectError, match="no answer within"):
        Egress(resolver=hang).connect("db.plant", 5432, 0.2)
    forever.set()


def test_stages(greeter: socket.socket) -> None:
    assert list(Egress().stages("localhost", greeter.getsockname()[1])) == ["dns", "tcp"]


def test_a_peer_without_tls_fails_at_that_stage(greeter: socket.socket) -> None:
    stages = Egress().stages("127.0.0.1", greeter.getsockname()[1], tls=ssl.create_default_context())
    assert [next(stages), next(stages)] == ["dns", "tcp"]
    with pytest.raises(ConnectError, match=r"tls: 127\.0\.0\.1 does not talk TLS"):
        next(stages)


def test_a_connection_survives_slow_answers(greeter: socket.socket) -> None:
    with FaultProxy("127.0.0.1", greeter.getsockname()[1]) as slow:
        slow.latency(50)
        with Egress().connect("127.0.0.1", slow.port) as opened:
            assert opened.recv(5) == b"hello"
