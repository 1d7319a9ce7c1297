"""Whatever bytes a peer puts into its headers and bodies, a call gives an answer or one of our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.errors import TongquError
from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out
from tongqu.testing.swift_clock import SwiftClock

NAMES = [
    "Set-Cookie", "Retry-After", "RateLimit", "RateLimit-Remaining", "RateLimit-Reset", "X-RateLimit-Remaining",
    "X-RateLimit-Reset", "Cache-Control", "Expires", "Age", "ETag", "Last-Modified", "Location", "Content-Encoding",
    "Content-Type", "Content-Length", "Transfer-Encoding", "Vary", "Date", "Connection",
]  # fmt: skip
WORDS = [
    "0", "-1", "²", "٣", "9" * 400, "1e999", "nan", "max-age=", "max-age=9²", "no-store", "sid=1; Max-Age=" + "9" * 99,
    "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 +9999", "http://[::1", "//", "http://a b/", "/\x01",
    "https:///x", "gopher://x", "gzip", "zstd", "br", "gzip, gzip, br", "chunked", "r=;t=", '"a";r=1;t=9' + "9" * 300,
    "application/json", "\x00", "=;=;", "a=b; Path", "*", "close",
]  # fmt: skip
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(WORDS) | st.text(max_size=12)), max_size=6)
BODIES = st.binary(max_size=64) | st.sampled_from([b"[" * 70000, b'{"error": {"message": 1}}', b"\x1f\x8b\x08"])


@pytest.fixture(scope="module")
def peer() -> Iterator[HttpPeer]:
    with HttpPeer() as made:
        yield made


@given(st.sampled_from([200, 204, 301, 302, 304, 400, 401, 404, 429, 500, 503, 999, 100, 101]), HEADERS, BODIES)
@settings(max_examples=60, deadline=None)
def test_headers_and_bodies(peer: HttpPeer, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    def answer(asked: Asked, out: Out) -> None:
        del asked
        lines = [f"HTTP/1.1 {status} S", *(f"{name}: {value}" for name, value in headers)]
        out.raw("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("utf-8", "replace") + body)
        out.hang_up()

    peer.routes["/"] = answer
    told = {"base_url": peer.url, "retry": {"attempts": 2}, "cache": {"seconds": 0}, "timeouts": {"call_seconds": 5}}
    http = Http(HttpSettings.parse(told), clock=SwiftClock())
    for _ in range(3):
        with suppress(TongquError):
            http.send(Call("GET", peer.url + "/"))
    http.close()
