"""Servers that push messages: event streams and WebSockets on loopback, whose connections can be broken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_BEAT = 0.1


@dataclass
class Pushing:
    """What a server sends to each connection, and what connections asked for. Messages are numbered from 1; a
    connection gets those after the number it names (`Last-Event-ID`, or the first message it sends), then those that
    come. `broken` ends all connections; `status` answers new ones with something else."""

    url: str = ""
    asked: list[Mapping[str, str]] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    status: int = 0
    token: str = ""
    _messages: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _round: int = 0
    _over: bool = False

    def push(self, *messages: str) -> None:
        """Send to all connections."""
        with self._changed:
            self._messages += messages
            self._changed.notify_all()

    def broken(self) -> None:
        """End all connections."""
        with self._changed:
            self._round += 1
            self._changed.notify_all()

    def connected(self, count: int, seconds: float = 60.0) -> bool:
        """Wait until so many connections were opened in all."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.asked) >= count, seconds)

    def open(self, headers: Mapping[str, str]) -> Callable[[int], Sequence[tuple[int, str]] | None]:
        """Note a connection; gives what asks for the messages after one: none while nothing comes, None at the end."""
        with self._changed:
            self.asked.append({name.lower(): value for name, value in headers.items()})
            self._changed.notify_all()
            mine = self._round

        def after(number: int) -> Sequence[tuple[int, str]] | None:
            with self._changed:
                self._changed.wait_for(lambda: len(self._messages) > number or self._over or mine != self._round, _BEAT)
                if self._over or mine != self._round:
                    return None
                return list(enumerate(self._messages[number:], number + 1))

        return after

    def end(self) -> None:
        """End all connections for good."""
        with self._changed:
            self._over = True
            self._changed.notify_all()


@contextmanager
def event_stream(*, ids: bool = True) -> Iterator[Pushing]:
    """A server of one event stream at any path; with `ids` its messages have their numbers as ids."""
    pushing = Pushing()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wrong = pushing.token and self.headers.get("authorization") != f"Bearer {pushing.token}"
            if pushing.status or wrong:
                self.send_response(401 if wrong else pushing.status)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            after = pushing.open(dict(self.headers))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream; charset=utf-8")
            self.end_headers()
            number = int(self.headers.get("last-event-id") or 0)
            while (found := after(number)) is not None:
                try:
                    self.wfile.write(b"retry: 10\n\n:\n\n")
                    for number, text in found:
                        data = "".join(f"data: {line}\n" for line in text.split("\n"))
                        self.wfile.write((f"id: {number}\n" * ids + data + "\n").encode())
                except OSError:
                    break
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(_BEAT,), daemon=True)
    thread.start()
    pushing.url = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield pushing
    finally:
        pushing.end()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def websockets_server() -> Iterator[Pushing]:
    """A WebSocket server, of the library `websockets`: sends what comes after the number in the first message that it
    receives (`{"after": 3}`; any other text: from the beginning)."""
    import json

    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection, serve

    pushing = Pushing()

    def checked(connection: ServerConnection, request: Request) -> Response | None:
        if pushing.status:
            return connection.respond(pushing.status, "no")
        if pushing.token and request.headers.get("authorization") != f"Bearer {pushing.token}":
            return connection.respond(401, "no")
        return None

    def talk(connection: ServerConnection) -> None:
        assert connection.request is not None  # it was answered
        after = pushing.open(dict(connection.request.headers.raw_items()))
        try:
            text = str(connection.recv())
            pushing.received.append(text)
            number = json.loads(text).get("after", 0) if text.startswith("{") else 0
            while (found := after(number)) is not None:
                for number, one in found:  # noqa: B007  the last one is where it goes on
                    connection.send(one)
        except ConnectionClosed:
            return

    with serve(talk, "127.0.0.1", 0, process_request=checked) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        pushing.url = f"127.0.0.1:{server.socket.getsockname()[1]}"
        try:
            yield pushing
        finally:
            pushing.end()
            server.shutdown()
            thread.join()
