"""Serves a pretended system over HTTP on this machine."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tongqu.catalog.cases.pretend import Pretend
from tongqu.core.errors import ConnectError

HOST = "127.0.0.1"
_LONGEST = 16 << 20
_IDLE_SECONDS = 30.0


class PretendServer:
    """Listens on loopback from its making until `close`. Raises ConnectError if the port is taken."""

    def __init__(self, pretend: Pretend, port: int = 0):
        self.pretend = pretend
        self.calls = 0
        """Requests that were answered."""
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = _IDLE_SECONDS
            disable_nagle_algorithm = True

            def _answer(self) -> None:
                server.answer(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815  # the names http.server calls

            def log_message(self, format: str, *args: object) -> None:
                del format, args

        try:
            self._server = ThreadingHTTPServer((HOST, port), Handler)
        except OSError as error:
            raise ConnectError(f"{HOST}:{port} cannot be listened on: {error.strerror}", path=str(port)) from None
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://{HOST}:{self.port}{pretend.base}"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.05), name="mock", daemon=True)
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        length = handler.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > _LONGEST:
            handler.send_error(413)
            return
        headers = {name.lower(): value for name, value in handler.headers.items()}
        body = handler.rfile.read(int(length))
        said = self.pretend.answer(handler.command, handler.path, headers, body)
        content = said.content
        with self._lock:
            self.calls += 1
        handler.send_response(said.status)
        for name, value in said.headers.items():
            handler.send_header(name, value)
        if content:
            handler.send_header("Content-Type", "application/json; charset=utf-8")
        if said.status != 204:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)

    def close(self) -> None:
        """Stop listening; may be called twice."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
