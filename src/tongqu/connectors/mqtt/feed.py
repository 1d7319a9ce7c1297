"""Receives a topic in a session that the broker keeps, and acknowledges what is on our disk."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from threading import Event

from tongqu.connectors.mqtt import codec
from tongqu.connectors.mqtt.codec import Publish
from tongqu.connectors.mqtt.settings import MqttSettings, TopicSettings
from tongqu.connectors.mqtt.topic import noted
from tongqu.connectors.mqtt.wire import Packet, Wire
from tongqu.core.errors import CancelledError
from tongqu.kit.push.spool import Message, Spool

_BUSY, _IDLE, _LEAVING = 0.01, 0.5, 3.0

logger = logging.getLogger("tongqu.push")


class MqttFeed:
    """See Feed. A message of QoS 1 is answered by PUBACK when it is kept. One of QoS 2 is answered by PUBREC when it is
    kept together with its packet identifier, under which it may come again; PUBCOMP follows when that is released."""

    def __init__(self, settings: MqttSettings, name: str, topic: TopicSettings, client: str, spool: Spool):
        self._settings, self._name, self._topic = settings, name, topic
        self._client, self._spool = client, spool
        self._kept: deque[bytes] = deque()
        self._owed = 0
        self.wait: float | None = None

    def subscribe(self) -> None:
        """Have the broker keep a session with the subscription from now on."""
        self._connected().leave()

    def end(self) -> None:
        """Have the broker forget the session."""
        Wire(self._settings, self._client).leave()

    def messages(self, resume: str, stop: Event) -> Iterator[Message]:
        """See Feed.messages: the session tells what to go on after."""
        del resume
        self._kept, self._owed = deque(), 0
        wire = self._connected()
        try:
            while not stop.is_set():
                self._answer(wire)
                came = wire.next(_BUSY if self._owed else _IDLE)
                message = None if came is None else self._taken(came)
                if message is not None:
                    yield message
            deadline = time.monotonic() + _LEAVING
            while self._owed and time.monotonic() < deadline:
                Event().wait(_BUSY)
                self._answer(wire)
            wire.leave()
        finally:
            wire.close()
        raise CancelledError("the topic was stopped")

    def _connected(self) -> Wire:
        wire = Wire(self._settings, self._client, session=self._settings.session_seconds, clean=False)
        try:
            if not wire.resumed:
                logger.info("%s: the broker begins a new session", self._name)
                self._spool.release(self._name).result()
            wire.subscribe(self._topic.topic, self._topic.qos, self._topic.retained)
        except BaseException:
            wire.close()
            raise
        return wire

    def _taken(self, packet: Packet) -> Message | None:
        kind, flags, body = packet
        if kind == codec.PUBREL:
            id, _, _ = codec.acknowledged(body)
            self._owed += 1
            answered = self._owing(codec.answer(codec.PUBCOMP, id))
            self._spool.release(self._name, id).add_done_callback(
                lambda future: answered() if future.exception() is None else None
            )
            return None
        if kind != codec.PUBLISH:
            return None
        came = codec.message(flags, body)
        if not came.qos:
            return self._message(came, None)
        self._owed += 1
        return self._message(came, self._owing(codec.answer(codec.PUBREC if came.qos == 2 else codec.PUBACK, came.id)))

    def _message(self, came: Publish, kept: Callable[[], None] | None) -> Message:
        once = came.id if came.qos == 2 else None
        return Message(came.body, time.time(), event=noted(came), once=once, kept=kept)

    def _owing(self, answer: bytes) -> Callable[[], None]:
        """What sends an answer later: called by the thread that writes to the disk, sent by ours. The answers of a
        connection that is gone go nowhere."""
        kept = self._kept
        return lambda: kept.append(answer)

    def _answer(self, wire: Wire) -> None:
        ready = [self._kept.popleft() for _ in range(len(self._kept))]
        if ready:
            wire.send(b"".join(ready))
            self._owed -= len(ready)
