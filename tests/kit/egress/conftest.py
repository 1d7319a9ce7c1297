"""What lies on the way: an echo at the far end, proxies, a jump host, a hub with an agent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    """The port of a server that greets first and then sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_listen, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _listen(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            guest, _ = server.accept()
            threading.Thread(target=_answer, args=(guest,), daemon=True).start()


def _answer(guest: socket.socket) -> None:
    with guest, suppress(OSError):
        guest.sendall(b"hello ")
        while block := guest.recv(65536):
            guest.sendall(block)
