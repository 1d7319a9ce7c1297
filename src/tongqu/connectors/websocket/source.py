"""Follows WebSocket streams."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

from tongqu.connectors.websocket.settings import LAST, StreamSettings, WebSocketSettings, message_text
from tongqu.core.errors import AnswerError, AuthError, CancelledError, ConnectError, TongquError
from tongqu.kit.drivers import driver
from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.http.status import refusal
from tongqu.kit.push.receiver import Feed
from tongqu.kit.push.source import PushSource
from tongqu.kit.push.spool import Message
from tongqu.kit.tls import context

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

_SLICE = 0.5
_TOO_BIG = 1009
_NOT_SAID = object()


class WebSocketSource(PushSource):
    """See PushSource."""

    def __init__(self, settings: WebSocketSettings):
        driver("websockets", "websocket")
        super().__init__(settings, settings.datasets)
        self._own = settings

    def feed(self, name: str, http: Http) -> Feed:
        """See PushSource.feed."""
        return WebSocketFeed(http, self._own, self._own.datasets[name])


class WebSocketFeed:
    """One connection, opened by the rules of all connections: checked addresses, TLS, credentials in its handshake."""

    def __init__(self, http: Http, settings: WebSocketSettings, stream: StreamSettings):
        self._http, self._settings, self._stream = http, settings, stream
        self.wait: float | None = None

    def messages(self, resume: str, stop: Event) -> Iterator[Message]:
        """See Feed.messages."""
        from websockets.exceptions import ConnectionClosed

        with self._opened() as connection:
            try:
                self._subscribe(connection, resume)
                while not stop.is_set():
                    try:
                        came = connection.recv(timeout=_SLICE)
                    except TimeoutError:
                        continue
                    found = self._message(came.encode() if isinstance(came, str) else came)
                    if found is not None:
                        yield found
            except ConnectionClosed as closed:
                raise self._ended(closed) from None
        raise CancelledError("the stream was stopped")

    def _ended(self, closed: Any) -> TongquError:
        for frame in (closed.sent, closed.rcvd):
            if frame is not None and frame.code == _TOO_BIG:
                return AnswerError(
                    f"a message has more than {self._settings.message_bytes} bytes", hint="message_bytes is the limit"
                )
        code = closed.rcvd.code if closed.rcvd is not None else "no"
        return ConnectError(f"the connection ended (code {code})", path=self._stream.path)

    def _subscribe(self, connection: ClientConnection, resume: str) -> None:
        secret = self._stream.token_message
        if secret is not None:
            connection.send(secret.get_secret_value())
        for one in self._stream.subscribe:
            text = message_text(one)
            if LAST not in text:
                connection.send(text)
            elif resume:
                connection.send(text.replace(LAST, resume if isinstance(one, str) else json.dumps(resume)[1:-1]))

    def _message(self, value: bytes) -> Message | None:
        stream = self._stream
        if not stream.id and not stream.only:
            return Message(value, time.time())
        try:
            document: Any = json.loads(value)
        except (ValueError, RecursionError):
            return None if stream.only else Message(value, time.time())
        if any(_told(_at(document, path)) != wanted for path, wanted in stream.only.items()):
            return None
        id = _at(document, stream.id) if stream.id else _NOT_SAID
        return Message(value, time.time(), _told(id) or "")

    @contextmanager
    def _opened(self) -> Iterator[ClientConnection]:
        from websockets.exceptions import InvalidHandshake, InvalidStatus
        from websockets.sync.client import connect

        request, renew = self._http.signed(Call("GET", self._http.url(self._stream.path)))
        origin, settings = request.origin, self._settings
        secure = origin.scheme == "https"
        seconds = settings.timeouts.connect_seconds
        opened = settings.egress(*settings.granted(), allow=settings.allow).connect(origin.host, origin.port, seconds)
        own = [(name, value) for name, value in request.headers.items() if name.lower() not in _OURS]
        offered: list[Any] = list(self._stream.protocols)
        try:
            connection = connect(
                f"{'wss' if secure else 'ws'}://{request.authority}{request.target}", sock=opened, proxy=None,
                ssl=context(settings.tls) if secure else None, user_agent_header=None,
                additional_headers=own, subprotocols=offered or None, open_timeout=seconds, close_timeout=_SLICE,
                ping_interval=settings.ping_seconds, ping_timeout=settings.ping_seconds,
                max_size=settings.message_bytes,
            )  # fmt: skip
        except InvalidStatus as refused:
            opened.close()
            raise self._refused(refused, renew) from None
        except (InvalidHandshake, OSError, EOFError) as error:
            opened.close()
            raise ConnectError(f"no WebSocket was opened: {type(error).__name__}", path=self._stream.path) from None
        with connection:
            yield connection

    def _refused(self, refused: Any, renew: Callable[[], bool]) -> TongquError:
        status, headers = refused.response.status_code, dict(refused.response.headers.raw_items())
        error = refusal(status, headers, b"", f"GET {self._stream.path or '/'}")
        if isinstance(error, AuthError) and renew():
            return ConnectError("the token is no longer accepted, another one is asked for", path=self._stream.path)
        return error


_OURS = frozenset(("host", "connection", "upgrade", "accept-encoding", "content-length", "transfer-encoding"))


def _at(document: Any, path: str) -> Any:
    for part in path.split("."):
        document = document.get(part, _NOT_SAID) if isinstance(document, dict) else _NOT_SAID
    return document


def _told(value: Any) -> str:
    """A value as text; empty where there is none."""
    if value is _NOT_SAID or value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
