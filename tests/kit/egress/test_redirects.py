"""Every redirect and every link is judged anew: the corpus through the HTTP client, while a canary stays silent."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from tongqu.core.errors import AnswerError, ConnectError, EgressRefusedError
from tongqu.kit.egress.dial import Egress
from tongqu.kit.egress.policy import Grant
from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.testing.hostile_urls import HOSTILE_URLS, resolver
from tongqu.testing.swift_clock import SwiftClock

REFUSALS = (EgressRefusedError, AnswerError, ConnectError)
"""The last for a name that is nobody's: joining a redirect to its page takes tabs out of it."""


class Redirecting(BaseHTTPRequestHandler):
    """Sends `/N` on to the Nth URL, and `/chain/N` there by way of another of its own pages."""

    targets: ClassVar[list[str]] = []

    def do_GET(self) -> None:  # http.server's name
        """Answer with a redirect."""
        first, _, number = self.path.strip("/").rpartition("/")
        self.send_response(302)
        self.send_header("Location", f"/{number}" if first else self.targets[int(number)])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def canary() -> Iterator[socket.socket]:
    """Listens on every loopback address that there is and must never hear anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.fixture(scope="module")
def client(canary: socket.socket) -> Iterator[Http]:
    """A client of a server that redirects to hostile places, where possible to the canary's port."""
    Redirecting.targets = [aimed(url, canary.getsockname()[1]) for url in HOSTILE_URLS]
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        place = ("127.0.0.1", server.server_port)
        base = f"http://127.0.0.1:{server.server_port}"
        settings = HttpSettings.parse({"base_url": base, "auth": {"bearer": "s3cret"}})
        http = Http(settings, clock=SwiftClock(), egress=Egress([place], resolver=resolver))
        yield http
        http.close()
        server.shutdown()


def aimed(url: str, port: int) -> str:
    """The URL with the canary's port, where it names none and can be split at all; without line breaks, which no
    header can hold."""
    clean = url.replace("\r\n", "")
    try:
        parts = urlsplit(clean)
        plain = clean.isprintable() and parts.scheme == "http" and parts.hostname and parts.port is None
    except ValueError:
        return clean
    return parts._replace(netloc=f"{parts.netloc}:{port}").geturl() if plain and clean.isascii() else clean


@pytest.mark.parametrize("way", ["", "chain/"])
def test_redirects_lead_nowhere_inside(client: Http, way: str) -> None:
    for number, url in enumerate(Redirecting.targets):
        if not url.isascii() or url.startswith(("//", "http:///")):
            continue  # what a header cannot hold, and what is relative to the page
        with pytest.raises(REFUSALS) as refused:
            client.send(Call("GET", client.url(f"{way}{number}")))
        assert "s3cret" not in f"{refused.value} {refused.value.hint} {refused.value.path}", url


def test_links_lead_nowhere_inside(client: Http) -> None:
    for url in Redirecting.targets:
        with pytest.raises(REFUSALS):
            client.send(Call("GET", url, grant=Grant.DATA))
