"""One connection to an MQTT 5 broker over a socket of our own."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from tongqu.connectors.mqtt import codec
from tongqu.connectors.mqtt.codec import Body, Properties
from tongqu.connectors.mqtt.settings import MqttSettings
from tongqu.core.errors import (
    AuthError,
    ConnectError,
    ConnectorError,
    InvalidPlanError,
    PrivilegeError,
    ReadError,
)
from tongqu.kit.pipe import Pipe

Packet = tuple[int, int, bytes]
NOT_ALLOWED = 0x87
_LOGIN = (0x86, 0x87, 0x8A, 0x8C)
_FOR_EVER = (0x01, 0x81, 0x82, 0x84, 0x85, 0x95)
_RETAINED = {"always": 0, "new": 1, "never": 2}
_REASONS = {
    0x01: "MQTT 5 is not spoken",
    0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error",
    0x84: "MQTT 5 is not spoken", 0x85: "the client id is not valid", 0x86: "bad user name or password",
    0x87: "not authorized", 0x88: "server unavailable", 0x89: "server busy", 0x8A: "banned", 0x8B: "shutting down",
    0x8D: "keep alive timeout", 0x8E: "the session was taken over", 0x8F: "topic filter invalid",
    0x90: "topic name invalid", 0x93: "receive maximum exceeded", 0x95: "packet too large", 0x97: "quota exceeded",
    0x98: "ended by an administrator", 0x99: "payload format invalid", 0x9A: "retain not supported",
    0x9B: "QoS not supported", 0x9E: "shared subscriptions not supported", 0x9F: "connection rate exceeded",
    0xA2: "wildcards not supported",
}  # fmt: skip


def reason(code: int, said: str = "") -> str:
    """A reason code in words."""
    return f"{_REASONS.get(code, 'reason')} (0x{code:02x}{': ' + said if said else ''})"


class Wire:
    """A connection, for one thread at a time. Raises ConnectError (retryable) for a lost one."""

    def __init__(self, settings: MqttSettings, client: str, *, session: int = 0, clean: bool = True):
        """`session`: how many seconds the broker keeps the session after the connection; `clean`: forget an older."""
        self._settings = settings
        self.where = settings.display()
        self._ready: deque[Packet] = deque()
        self._number = self._keep_alive = 0
        self._pinged = 0.0
        self._pipe = Pipe(settings)
        self._sent = monotonic()
        try:
            self._begin(client, session, clean)
        except BaseException:
            self._pipe.close()
            raise

    # ---- login

    def _begin(self, client: str, session: int, clean: bool) -> None:
        settings = self._settings
        flags = clean << 1 | (settings.password is not None) << 6 | bool(settings.user) << 7
        asked = Properties({
            codec.SESSION_EXPIRY: session, codec.RECEIVE_MAXIMUM: settings.receive_maximum,
            codec.MAXIMUM_PACKET: settings.message_bytes,
        })  # fmt: skip
        parts = [codec.text("MQTT"), struct.pack(">BBH", 5, flags, settings.keep_alive), asked.encoded()]
        parts.append(codec.text(client))
        if settings.user:
            parts.append(codec.text(settings.user))
        if settings.password is not None:
            parts.append(codec.text(settings.password.get_secret_value()))
        self.send(codec.packet(codec.CONNECT, 0, *parts))
        body = Body(self._answer(codec.CONNACK, settings.connect_seconds))
        self.resumed = bool(body.number(1) & 1)
        code = body.number(1)
        told = body.properties()
        if code:
            raise self._refused(code, str(told.values.get(codec.REASON, "")))
        values = told.values
        self.window = int(values.get(codec.RECEIVE_MAXIMUM, 65_535))
        self.best_qos = int(values.get(codec.MAXIMUM_QOS, 2))
        self.retains = bool(values.get(codec.RETAIN_AVAILABLE, 1))
        self.largest = int(values.get(codec.MAXIMUM_PACKET, 268_435_460))
        self._keep_alive = int(values.get(codec.SERVER_KEEP_ALIVE, settings.keep_alive))

    @property
    def secured(self) -> str:
        """The version of TLS; empty without."""
        return self._pipe.secured

    # ---- out

    def identifier(self) -> int:
        """The next packet identifier, 1 to 65535 in turn."""
        self._number = self._number % 65_535 + 1
        return self._number

    def send(self, data: bytes) -> None:
        """Send packets."""
        self._pipe.out += data
        self._pipe.flush()
        self._sent = monotonic()

    def subscribe(self, topic: str, qos: int, retained: str) -> int:
        """Have messages of a topic filter sent to us; what the broker grants. Messages that come meanwhile wait."""
        id = self.identifier()
        options = qos | 1 << 3 | (0 if topic.startswith("$share/") else _RETAINED[retained]) << 4
        body = (struct.pack(">H", id), codec.NOTHING.encoded(), codec.text(topic), bytes([options]))
        self.send(codec.packet(codec.SUBSCRIBE, 2, *body))
        answer = Body(self._answer(codec.SUBACK, self._settings.answer_seconds))
        answer.number(2)
        said = str(answer.properties().values.get(codec.REASON, ""))
        code = answer.number(1)
        if code == NOT_ALLOWED:
            raise PrivilegeError(f"not allowed to subscribe to {topic!r}", path=self.where, hint="grant read on it")
        if code >= 0x80:
            raise InvalidPlanError(f"{topic!r} was refused: {reason(code, said)}", path=self.where)
        return code

    # ---- in

    def next(self, seconds: float) -> Packet | None:
        """The next packet that is not about the connection itself; None if none comes in so many seconds."""
        deadline = monotonic() + seconds
        while not self._ready:
            self._parse()
            if self._ready:
                break
            self._beat()
            soon = min(deadline, monotonic() + self._keep_alive / 4) if self._keep_alive else deadline
            if not self._pipe.fill(soon) and monotonic() >= deadline:
                return None
        return self._ready.popleft()

    def _answer(self, kind: int, seconds: float) -> bytes:
        kept: deque[Packet] = deque()
        deadline = monotonic() + seconds
        try:
            while True:
                came = self.next(max(deadline - monotonic(), 0))
                if came is None:
                    raise self.lost("no answer in time")
                if came[0] == kind:
                    return came[2]
                kept.append(came)
        finally:
            self._ready.extendleft(reversed(kept))

    def _beat(self) -> None:
        if not self._keep_alive:
            return
        now = monotonic()
        heard = self._pipe.heard
        if now - heard > 1.5 * self._keep_alive:
            raise self.lost(f"nothing came for {now - heard:.0f} s")
        half = self._keep_alive / 2
        if now - min(self._sent, heard) > half and now - self._pinged > half:
            self._pinged = now
            self.send(codec.packet(codec.PINGREQ, 0))

    def _parse(self) -> None:
        while (came := codec.taken(self._pipe.buffer, self._settings.message_bytes)) is not None:
            kind, _, body = came
            if kind == codec.DISCONNECT:
                raise self._refused(body[0] if body else 0, "")
            if kind != codec.PINGRESP:
                self._ready.append(came)

    # ---- ends

    def _refused(self, code: int, said: str) -> ConnectorError:
        if code in _LOGIN:
            return AuthError(
                f"the broker refused the login: {reason(code, said)}", path=self.where, hint="check user and password"
            )
        if code in _FOR_EVER:
            return ReadError(f"the broker ended the connection: {reason(code, said)}", path=self.where)
        return ConnectError(f"the broker ended the connection: {reason(code, said)}", path=self.where)

    def lost(self, why: str) -> ConnectError:
        """The error of a connection that is of no use any more."""
        return self._pipe.lost(why)

    def leave(self) -> None:
        """Say goodbye and release the connection; a session stays as long as it was asked for."""
        with suppress(ConnectError):
            self.send(codec.packet(codec.DISCONNECT, 0))
        self.close()

    def close(self) -> None:
        """Release the connection; may be called twice."""
        self._pipe.close()


def found_in(user: Sequence[Sequence[str]], name: str) -> str | None:
    """The value of the first pair of a name."""
    return next((value for one, value in user if one == name), None)
