"""A small HTTP server on loopback whose answers are written byte by byte, so that they can also be wrong."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tongqu.testing.services.process import HOST

_IDLE_SECONDS = 30.0


@dataclass(frozen=True)
class Asked:
    """A request as it came in; names of headers in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The parameters, decoded."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Out:
    """Where an answer is written."""

    def __init__(self, sock: socket.socket, closing: threading.Event):
        self._socket = sock
        self._closing = closing
        self.open = True
        """Whether another request may follow on this connection."""

    def answer(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        """A correct answer; `_` in names of headers stands for `-`."""
        lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.raw("\r\n".join([*lines, "", ""]).encode() + body)

    def json(self, value: Any, status: int = 200, /, **headers: str) -> None:
        """A correct answer with a JSON body."""
        body = json.dumps(value, ensure_ascii=False).encode()
        self.answer(status, body, **{"Content_Type": "application/json", **headers})

    def raw(self, data: bytes) -> None:
        """Any bytes; raises OSError when the client is gone."""
        self._socket.sendall(data)

    def pause(self, seconds: float) -> bool:
        """Let time pass; False if the server closes meanwhile."""
        return not self._closing.wait(seconds)

    def hang_up(self) -> None:
        """Close the connection without another word."""
        self.open = False


Handler = Callable[[Asked, Out], None]


class HttpPeer:
    """A server with handlers by path; a context manager. `calls` are the requests that came in, in order.

    Other paths are answered with 404. A handler that raises ends its connection.
    """

    kind: ClassVar[Literal["real", "compatible", "mock"]] = "mock"
    name: ClassVar[str] = "HTTP peer"

    def __init__(self, routes: Mapping[str, Handler] | None = None, *, tls: ssl.SSLContext | None = None):
        self.routes: dict[str, Handler] = dict(routes or {})
        self.calls: list[Asked] = []
        self.connections = 0
        self._tls = tls
        self._closing = threading.Event()
        self._lock = threading.Lock()
        peer = self

        class Talk(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError, ssl.SSLError, ValueError):
                    peer._talk(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server((HOST, 0), Talk)
        self.host, self.port = HOST, int(self._server.server_address[1])
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.05), name="http-peer", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address, without a final slash."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def paths(self) -> list[str]:
        """The targets of the requests that came in."""
        return [asked.target for asked in self.calls]

    def close(self) -> None:
        """Close the port; connections end by themselves."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _talk(self, sock: socket.socket) -> None:
        with self._lock:
            self.connections += 1
        sock.settimeout(_IDLE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            sock = self._tls.wrap_socket(sock, server_side=True)
        with sock, sock.makefile("rb") as lines:
            while not self._closing.is_set():
                first = lines.readline().decode("latin-1").split()
                if len(first) < 2:
                    return
                headers: dict[str, str] = {}
                while line := lines.readline().decode("utf-8", "replace").strip():
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                asked = Asked(first[0], first[1], headers, lines.read(int(headers.get("content-length", 0))))
                with self._lock:
                    self.calls.append(asked)
                out = Out(sock, self._closing)
                self.routes.get(asked.path, _missing)(asked, out)
                if not out.open:
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)
                    return


def _missing(asked: Asked, out: Out) -> None:
    out.json({"message": f"nothing at {asked.path}"}, 404)
