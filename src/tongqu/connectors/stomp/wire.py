"""STOMP 1.2 over one connection: log in, subscribe, acknowledge, send with receipts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from tongqu.connectors.stomp.frames import Frame, decode, encoded
from tongqu.connectors.stomp.settings import StompSettings
from tongqu.core.errors import AuthError, ConnectorError, NotFoundError, PrivilegeError, ReadError
from tongqu.kit.handed.framed import FramedLine
from tongqu.kit.handed.line import ID, Letter
from tongqu.kit.remote.effect import Op, Outcome, Result

_BEAT, _SILENT, _LEAVING = 10.0, 35.0, 3.0
_SEEN = 1 << 20
_TEXTS = ("application/json", "text/plain")
_NOT_ITS_WRITERS = {
    "ack", "amq-msg-type", "content-length", "content-type", "destination", "expires", "message-id", "persistent",
    "priority", "redelivered", "subscription", "timestamp", "receipt",
}  # fmt: skip
_RIGHT = ("access_refused", "access to", "not authorized", "access refused", "not allowed")
_MISSING = ("not_found", "no queue", "unknown destination", "not a valid")


class Wire(FramedLine[Frame]):
    """See Line."""

    def __init__(self, settings: StompSettings):
        super().__init__(settings)
        self._settings = settings
        self.product = ""
        self._names: dict[str, str] = {}
        self._told: dict[str, Callable[[Outcome], None]] = {}
        self._number = 0
        self._open = True
        try:
            self._begin()
        except BaseException:
            self._pipe.close()
            raise

    def _begin(self) -> None:
        settings = self._settings
        every = str(int(_BEAT * 1000))
        told = {"accept-version": "1.2", "host": settings.virtual_host or "/", "heart-beat": f"{every},{every}"}
        if settings.user:
            told["login"] = settings.user
            told["passcode"] = settings.password.get_secret_value() if settings.password else ""
        if any("\n" in value or "\r" in value for value in told.values()):
            raise AuthError("a login of STOMP is one line", path=self.where, hint="check user and password")
        self._pipe.out += encoded("CONNECT", told)
        self._pipe.flush()
        deadline = monotonic() + settings.connect_seconds
        frame = self._awaited(deadline)
        if frame.command != "CONNECTED":
            said = _said(frame)
            if frame.command == "ERROR" and "version" not in said.lower():
                hint = "check user, password and virtual_host"
                raise AuthError("the server refused the login", path=self.where, hint=hint)
            raise ReadError(f"the server does not speak STOMP 1.2: {said}", path=self.where, hint="check host and port")
        self.product = frame.headers.get("server", "STOMP 1.2").replace("/", " ")
        theirs, _, ours = frame.headers.get("heart-beat", "0,0").partition(",")
        self.silent = _SILENT if int(theirs or 0) > 0 else None
        if int(ours or 0) > 0:
            self._pipe.beat(max(int(ours), int(every)) / 2000, b"\n")

    # ---- queues

    def consume(self, name: str, address: str, most: int) -> None:
        """See Line.consume."""
        id = str(len(self._names))
        self._names[id] = name
        told = {"id": id, "destination": address, "ack": "client-individual"}
        self._pipe.out += encoded("SUBSCRIBE", told | {"prefetch-count": str(most), "activemq.prefetchSize": str(most)})

    def settle(self, tag: Any, taken: bool) -> None:
        """See Line.settle."""
        self._pipe.out += encoded("ACK", {"id": tag}) if taken else encoded("NACK", {"id": tag, "requeue": "false"})

    # ---- messages

    def send(self, address: str, letter: Letter, told: Callable[[Outcome], None]) -> None:
        """See Line.send."""
        self._number += 1
        receipt = str(self._number)
        self._told[receipt] = told
        headers = {
            "destination": address, "persistent": "true", "receipt": receipt, "content-type": letter.kind,
            "content-length": str(len(letter.body)), "amqp-message-id": letter.id or "",
        }  # fmt: skip
        if letter.kind in _TEXTS:
            headers["amq-msg-type"] = "text"  # ActiveMQ: what readers by JMS take for text
        self._pipe.out += encoded("SEND", headers | dict(letter.headers), letter.body)
        if len(self._pipe.out) > _SEEN:
            self._pipe.flush()

    def flush(self) -> None:
        """See Line.flush."""
        self._pipe.flush()

    # ---- what comes

    def _taken(self, buffer: bytearray) -> Frame | None:
        return decode(buffer)

    def _does(self, frame: Frame) -> None:
        if frame.command == "MESSAGE":
            self._ready.append((self._names[frame.headers["subscription"]], self._letter(frame)))
        elif frame.command == "RECEIPT":
            told = self._told.pop(frame.headers["receipt-id"], None)
            if told is not None:
                told(Outcome(Result.OK, Op.CREATE, 200))
        elif frame.command == "ERROR":
            told = self._told.pop(frame.headers.get("receipt-id", ""), None)
            if told is not None:
                told(Outcome(Result.FAILED, detail=_said(frame)))
            raise self._refused(_said(frame), known=told is not None)

    def _refused(self, said: str, *, known: bool) -> ConnectorError:
        """The error of an ERROR, behind which the server ends the connection."""
        low = said.lower()
        if known:
            return self._pipe.lost(f"the server refused a message: {said}")
        if any(word in low for word in _RIGHT):
            hint = "grant reading and writing of the queue"
            return PrivilegeError(f"not allowed: {said}", path=self.where, hint=hint)
        if any(word in low for word in _MISSING):
            return NotFoundError(said, path=self.where, hint="check the queue's address and the prefix")
        return self._pipe.lost(said)

    def _letter(self, frame: Frame) -> Letter:
        headers = frame.headers
        id = headers.get(self._settings.identifier) if self._settings.identifier else self._id(headers)
        told = headers.get("timestamp", "")
        at = _microseconds(int(told)) if told.isdecimal() else None
        return Letter(
            frame.body, id, headers.get("destination", ""), headers.get("content-type", ""),
            {name: value for name, value in headers.items() if name not in _NOT_ITS_WRITERS},
            at, headers.get("redelivered") == "true", headers.get("ack"),
        )  # fmt: skip

    def _id(self, headers: Mapping[str, str]) -> str | None:
        found = headers.get(ID) or headers.get("amqp-message-id")
        if found is None and not self.product.startswith("RabbitMQ"):  # there it is another one each time
            found = headers.get("message-id")
        return found

    def close(self) -> None:
        """See Line.close."""
        if self._open:
            self._open = False
            with suppress(ConnectorError):
                self._leave()
        self._pipe.close()

    def _leave(self) -> None:
        """Say that we go, and wait until the server has taken all that was said before."""
        gone: list[Outcome] = []
        self._told["bye"] = gone.append
        self._pipe.out += encoded("DISCONNECT", {"receipt": "bye"})
        self._pipe.flush()
        deadline = monotonic() + _LEAVING
        while not gone and self._handle(deadline):
            pass


def _said(frame: Frame) -> str:
    body = frame.body.decode("utf-8", "backslashreplace").strip().split("\n", 1)[0]
    return " ".join(f"{frame.headers.get('message', '')} {body}".split())[:300]


def _microseconds(at: int) -> int:
    """A time in microseconds: RabbitMQ counts seconds, ActiveMQ milliseconds."""
    return at * (1_000_000 if at < 100_000_000_000 else 1_000)
