"""A peer that does everything wrong which real ones do: each path is one kind of evil."""

from __future__ import annotations

import gzip
import random
import ssl
import threading
import zlib
from typing import ClassVar

from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

GIB = 1 << 30
_PIECE = b" " * 65536
_LOGIN = b"<!DOCTYPE html>\n<html><head><title>Please sign in</title></head><body><form></form></body></html>"
_FORGED = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nContent-Type: application/json\r\n\r\n{"forged": true}'
_LAUGHS = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">' + b"".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">'.encode() for n in range(9)
) + b"]><rows><row><v>&j;</v></row></rows>"  # fmt: skip


class EvilHttp(HttpPeer):
    """The evil peer; a context manager. `effects` are the writes that took place, whatever was answered.

    `/flaky` fails at random, as `share` and `seed` say, after or before its effect.
    """

    name: ClassVar[str] = "evil HTTP peer"

    def __init__(self, *, seed: int = 1, share: float = 0.05, canary: str = "", tls: ssl.SSLContext | None = None):
        super().__init__(tls=tls)
        self.effects: list[str] = []
        self.sent = 0
        self._random = random.Random(seed)  # noqa: S311 - chance of a test
        self._share = share
        self._canary = canary
        self._changes = threading.Lock()
        for name in dir(self):
            if name.startswith("at_"):
                self.routes["/" + name.removeprefix("at_").replace("_", "-")] = getattr(self, name)

    def at_good(self, asked: Asked, out: Out) -> None:
        """Nothing is wrong."""
        out.json({"path": asked.path, "query": asked.query})

    def at_huge(self, asked: Asked, out: Out) -> None:
        """10 GB without a length."""
        del asked
        out.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._pour(out, b"10000\r\n" + _PIECE + b"\r\n")

    def at_huge_length(self, asked: Asked, out: Out) -> None:
        """10 GB, as announced."""
        del asked
        out.raw(f"HTTP/1.1 200 OK\r\nContent-Length: {10 * GIB}\r\n\r\n".encode())
        self._pour(out, _PIECE)

    def at_huge_error(self, asked: Asked, out: Out) -> None:
        """An error page of 10 GB."""
        del asked
        out.raw(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._pour(out, b"10000\r\n" + _PIECE + b"\r\n")

    def at_deep(self, asked: Asked, out: Out) -> None:
        """An error message that nests without end."""
        del asked
        out.answer(400, b'{"error":' * 6000, Content_Type="application/json")

    def at_bomb(self, asked: Asked, out: Out) -> None:
        """10 GB of blanks in 10 MB of gzip."""
        del asked
        machine = zlib.compressobj(9, wbits=31)
        out.raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10 * GIB // len(_PIECE)):
            if piece := machine.compress(_PIECE * 16):
                out.raw(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.sent += len(piece)

    def at_slow(self, asked: Asked, out: Out) -> None:
        """A body that trickles (slow-loris)."""
        del asked
        out.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while out.pause(0.02):
            out.raw(b" ")

    def at_slow_head(self, asked: Asked, out: Out) -> None:
        """A head that trickles."""
        del asked
        out.raw(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while out.pause(0.02):
            out.raw(b"x")

    def at_endless_head(self, asked: Asked, out: Out) -> None:
        """Headers without end."""
        del asked
        out.raw(b"HTTP/1.1 200 OK\r\n")
        while not self._closing.is_set():
            out.raw(b"X-More: " + b"x" * 1000 + b"\r\n")

    def at_silent(self, asked: Asked, out: Out) -> None:
        """No answer at all."""
        del asked
        out.pause(60)
        out.hang_up()

    def at_short(self, asked: Asked, out: Out) -> None:
        """Fewer bytes than announced."""
        del asked
        out.raw(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"rows": [')
        out.hang_up()

    def at_long(self, asked: Asked, out: Out) -> None:
        """More bytes than announced: the rest looks like the answer to the next request."""
        del asked
        out.raw(
            b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"real": true}' + _FORGED
        )

    def at_cut_chunk(self, asked: Asked, out: Out) -> None:
        """A chunked body without its end."""
        del asked
        out.raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"rows":1\r\n')
        out.hang_up()

    def at_two_lengths(self, asked: Asked, out: Out) -> None:
        """Two lengths that contradict each other."""
        del asked
        out.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\n{}{}")

    def at_not_http(self, asked: Asked, out: Out) -> None:
        """Another protocol."""
        del asked
        out.raw(b"220 mail.example ESMTP\r\n\r\n")
        out.hang_up()

    def at_bad_gzip(self, asked: Asked, out: Out) -> None:
        """Text that is said to be gzip."""
        del asked
        out.answer(200, b'{"rows": []}', Content_Encoding="gzip")

    def at_cut_gzip(self, asked: Asked, out: Out) -> None:
        """Gzip that ends early."""
        del asked
        out.answer(200, gzip.compress(b'{"rows": [1, 2, 3]}' * 1000)[:-20], Content_Encoding="gzip")

    def at_html(self, asked: Asked, out: Out) -> None:
        """A login page with status 200."""
        del asked
        out.answer(200, _LOGIN, Content_Type="text/html")

    def at_html_as_json(self, asked: Asked, out: Out) -> None:
        """A login page that says it is JSON."""
        del asked
        out.answer(200, _LOGIN, Content_Type="application/json")

    def at_wrong_type(self, asked: Asked, out: Out) -> None:
        """JSON that says it is plain text."""
        del asked
        out.answer(200, b'{"rows": [1]}', Content_Type="text/plain")

    def at_image(self, asked: Asked, out: Out) -> None:
        """A picture."""
        del asked
        out.answer(200, b"\x89PNG\r\n\x1a\n", Content_Type="image/png")

    def at_xml_bomb(self, asked: Asked, out: Out) -> None:
        """Billion laughs."""
        del asked
        out.answer(200, _LAUGHS, Content_Type="application/xml")

    def at_to_loopback(self, asked: Asked, out: Out) -> None:
        """A redirect to something inside."""
        del asked
        out.answer(302, Location=self._canary)

    def at_to_file(self, asked: Asked, out: Out) -> None:
        """A redirect to a file."""
        del asked
        out.answer(302, Location="file:///etc/passwd")

    def at_around(self, asked: Asked, out: Out) -> None:
        """A redirect to itself."""
        del asked
        out.answer(302, Location="/around")

    def at_moved(self, asked: Asked, out: Out) -> None:
        """An honest redirect."""
        out.answer(307 if asked.method == "POST" else 302, Location="/good?moved=1")

    def at_commit(self, asked: Asked, out: Out) -> None:
        """500, but it was done."""
        self._done(asked)
        out.json({"message": "database is busy"}, 500)

    def at_commit_cut(self, asked: Asked, out: Out) -> None:
        """No answer, but it was done."""
        self._done(asked)
        out.hang_up()

    def at_commit_keyed(self, asked: Asked, out: Out) -> None:
        """500 the first time, but it was done; known again by its key."""
        key = asked.headers.get("idempotency-key", "")
        known = key in self.effects
        if not known:
            self._done(asked, key)
            out.json({"message": "database is busy"}, 500)
        else:
            out.json({"done": key}, 201)

    def at_flaky(self, asked: Asked, out: Out) -> None:
        """Fails at random: refuses, fails before or after the effect, answers with too many, or just hangs up."""
        with self._changes:
            fails = self._random.random() < self._share
            way = self._random.randrange(5)
        if not fails or way in (1, 2):
            self._done(asked, asked.headers.get("idempotency-key", ""))
        if not fails:
            out.json({"done": True})
        elif way in (0, 2):
            out.hang_up()
        else:
            out.json({"message": "try again"}, {1: 500, 3: 503, 4: 429}[way])

    def _done(self, asked: Asked, key: str = "") -> None:
        with self._changes:
            if asked.method not in ("GET", "HEAD") and (not key or key not in self.effects):
                self.effects.append(key or asked.body.decode())

    def _pour(self, out: Out, piece: bytes) -> None:
        for _ in range(10 * GIB // len(_PIECE)):
            out.raw(piece)
            self.sent += len(_PIECE)
