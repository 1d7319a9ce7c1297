"""Follows event streams."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event

from tongqu.connectors.sse.events import events
from tongqu.connectors.sse.settings import SseSettings, StreamSettings
from tongqu.core.errors import AnswerError, ConnectError, NotFoundError
from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.push.receiver import Feed
from tongqu.kit.push.source import PushSource
from tongqu.kit.push.spool import Message

_TYPE = "text/event-stream"
_OVER = 204


class SseSource(PushSource):
    """See PushSource."""

    def __init__(self, settings: SseSettings):
        super().__init__(settings, settings.datasets)
        self._own = settings

    def feed(self, name: str, http: Http) -> Feed:
        """See PushSource.feed."""
        return SseFeed(http, self._own.datasets[name], self._own.message_bytes)


class SseFeed:
    """One event stream; after a pause it is asked for what follows the last id that is on our disk."""

    def __init__(self, http: Http, stream: StreamSettings, most: int):
        self._http, self._stream, self._most = http, stream, most
        self.wait: float | None = None

    def messages(self, resume: str, stop: Event) -> Iterator[Message]:
        """See Feed.messages."""
        headers = {"Accept": _TYPE, "Cache-Control": "no-store"}
        if resume:
            headers["Last-Event-ID"] = resume
        wanted = set(self._stream.events)
        call = Call("GET", self._http.url(self._stream.path), headers=headers, stop=stop, keep_seconds=None)
        with self._http.stream(call) as answer:
            if answer.status == _OVER:
                raise NotFoundError("the server says that the stream is over (204)", path=self._stream.path)
            media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if media != _TYPE:
                raise AnswerError(f"the answer is {media or 'of no type'} and no event stream", path=self._stream.path)
            for event in events(answer.chunks, resume, self._most):
                if event.retry is not None:
                    self.wait = event.retry
                elif not wanted or event.kind in wanted:
                    yield Message(event.data, time.time(), event.id, event.kind)
        raise ConnectError("the server ended the stream", path=self._stream.path)
