"""Serves a profile's mock over HTTP on this machine."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tongqu.core.errors import ConnectError
from tongqu.kit.profiles.mock import Asked, MockApi
from tongqu.kit.profiles.profile import Profile

HOST = "127.0.0.1"
_LONGEST = 16 << 20
_IDLE_SECONDS = 30.0


class MockServer:
    """A mock that listens on loopback from its making until `close`. Raises ConnectError if the port is taken."""

    def __init__(self, profile: Profile, port: int = 0):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = _IDLE_SECONDS

            def answer(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                del format, args

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.answer)
        try:
            self._server = ThreadingHTTPServer((HOST, port), Handler)
        except OSError as error:
            raise ConnectError(f"{HOST}:{port} cannot be listened on: {error.strerror}", path=str(port)) from None
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://{HOST}:{self.port}"
        self.api = MockApi(profile, self.url)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.05), name="mock", daemon=True)
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        length = handler.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _LONGEST:
            handler.send_error(413)
            return
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = Asked(handler.command, handler.path, headers, handler.rfile.read(int(length)))
        with self._lock:
            told = self.api.answer(asked)
        body = json.dumps(told.body, ensure_ascii=False).encode()
        handler.send_response(told.status)
        handler.send_header("Content-Type", "application/json; charset=utf-8")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def close(self) -> None:
        """Stop listening; may be called twice."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
