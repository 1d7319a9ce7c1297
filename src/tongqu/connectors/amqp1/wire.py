"""AMQP 1.0 over one connection with one session: log in, attach links, settle what came, send and be answered."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from tongqu.connectors.amqp1 import frames
from tongqu.connectors.amqp1.frames import Frame, framed, read, taken, written
from tongqu.connectors.amqp1.settings import Amqp1Settings
from tongqu.connectors.amqp1.types import Described, Symbol, UByte, UInt, UShort
from tongqu.core.errors import AuthError, ConnectorError, NotFoundError, PrivilegeError, ReadError
from tongqu.kit.handed.framed import FramedLine
from tongqu.kit.handed.line import Letter
from tongqu.kit.remote.effect import Op, Outcome, Result

_FRAME, _WINDOW, _SEEN, _LEAVING = 1 << 18, 1 << 20, 1 << 20, 3.0
_IDLE_MS = 60_000
_RIGHTS = ("unauthorized-access", "not-allowed")


@dataclass
class Link:
    """One link: a queue that is read, or an address that is written to."""

    name: str
    """What it is called here."""
    address: str
    handle: int
    told_name: str = ""
    """What the server knows it by."""
    most: int = 0
    """Read: most messages that are not settled."""
    attached: bool = False
    credit: int = 0
    """Written: how many messages the server takes."""
    count: int = 0
    """How many messages went over it."""
    settled: int = 0
    """Read: how many of these were settled."""
    told: int = 0
    """Read: how many were settled when the server was last told how many may come."""
    coming: bytearray = field(default_factory=bytearray)
    id: int = 0
    """Read: the delivery that is coming in several frames."""


class Wire(FramedLine[Frame]):
    """See Line."""

    silent = 90.0

    def __init__(self, settings: Amqp1Settings):
        super().__init__(settings)
        self._settings = settings
        self.product = "AMQP 1.0"
        self._links: dict[int, Link] = {}
        self._theirs: dict[int, Link] = {}
        self._to: dict[str, Link] = {}
        self._told: dict[int, Callable[[Outcome], None]] = {}
        self._settling: list[tuple[Link, int, bool]] = []
        self._number = self._sent = self._came = 0
        self._room = 0
        """How many frames of messages the server takes."""
        self._largest = 512
        self._begun = self._open = False
        try:
            self._login()
            self._begin()
        except BaseException:
            self._pipe.close()
            raise

    # ---- begin

    def _login(self) -> None:
        settings = self._settings
        deadline = monotonic() + settings.connect_seconds
        self._greet(frames.SASL, deadline)
        offered = self._awaited(deadline)
        names = offered.field(0) or ()
        names = {str(name) for name in ([names] if isinstance(names, str) else names)}
        password = settings.password.get_secret_value() if settings.password else ""
        certificate = settings.tls is not None and bool(settings.tls.cert_file)
        if settings.user and not (certificate and not password):
            way, told = "PLAIN", f"\0{settings.user}\0{password}".encode()
        else:
            way, told = ("EXTERNAL", b"") if certificate else ("ANONYMOUS", b"anonymous")
        if way not in names:
            raise AuthError(f"the server does not take {way} logins", path=self.where, hint="check user and tls")
        self._pipe.out += framed(frames.INIT, [Symbol(way), told, self._host()], login=True)
        self._pipe.flush()
        outcome = self._awaited(deadline)
        if outcome.code != frames.OUTCOME or outcome.field(0) != 0:
            raise AuthError("the server refused the login", path=self.where, hint="check user and password")
        self._greet(frames.PLAIN, deadline)

    def _greet(self, head: bytes, deadline: float) -> None:
        self._pipe.out += head
        self._pipe.flush()
        while len(self._pipe.buffer) < len(head):
            if not self._pipe.fill(deadline):
                raise self._pipe.lost("no answer in time")
        came = bytes(self._pipe.buffer[: len(head)])
        if came != head:
            hint = "check host and port; RabbitMQ 3 needs the plugin rabbitmq_amqp1_0"
            raise ReadError(f"the server does not speak AMQP 1.0: it answered {came!r}", path=self.where, hint=hint)
        del self._pipe.buffer[: len(head)]

    def _host(self) -> str:
        name = self._settings.virtual_host
        return f"vhost:{name}" if name else self._settings.host

    def _begin(self) -> None:
        deadline = monotonic() + self._settings.connect_seconds
        name = f"tongqu-{secrets.token_hex(8)}"
        self._pipe.out += framed(frames.OPEN, [name, self._host(), UInt(_FRAME), UShort(0), UInt(_IDLE_MS)]) + framed(
            frames.BEGIN, [None, UInt(0), UInt(_WINDOW), UInt(_WINDOW), UInt(65_535)]
        )
        self._pipe.flush()
        self._open = True
        while not self._begun:
            if not self._handle(deadline):
                raise self._pipe.lost("no answer in time")

    # ---- queues

    def consume(self, name: str, address: str, most: int) -> None:
        """See Line.consume. Waits until the server has taken the link."""
        link = self._attach(name, address, True, most)
        self._credit(link)

    def _attach(self, name: str, address: str, reads: bool, most: int = 0) -> Link:
        link = Link(name, address, len(self._links), f"{name}-{secrets.token_hex(6)}", most)
        self._links[link.handle] = link
        place = [address, UInt(2 if not reads else 0)]
        ours = Described(frames.SOURCE if reads else frames.TARGET, place)
        other = Described(frames.TARGET if reads else frames.SOURCE, [])
        ends = (ours, other) if reads else (other, ours)
        told = [link.told_name, UInt(link.handle), reads, UByte(0), UByte(0), *ends, None, None]
        self._pipe.out += framed(frames.ATTACH, told if reads else [*told, UInt(0)])
        self._pipe.flush()
        deadline = monotonic() + self._settings.answer_seconds
        while not link.attached:
            if not self._handle(deadline):
                raise self._pipe.lost("no answer in time")
        return link

    def _credit(self, link: Link | None = None) -> None:
        """Tell the server how many messages it may send, and that the session has room."""
        told: list[Any] = [UInt(self._came), UInt(_WINDOW), UInt(self._sent), UInt(_WINDOW)]
        if link is not None:
            link.told = link.settled
            told += [UInt(link.handle), UInt(link.count), UInt(max(link.most - link.count + link.settled, 0))]
        self._pipe.out += framed(frames.FLOW, told)

    def settle(self, tag: Any, taken: bool) -> None:
        """See Line.settle."""
        link, id = tag
        self._settling.append((link, id, taken))

    def _settle(self) -> None:
        """Note the dispositions of what is settled: one for deliveries that follow each other."""
        settling, self._settling = self._settling, []
        start = 0
        for number, (link, id, ok) in enumerate(settling):
            link.settled += 1
            following = settling[number + 1] if number + 1 < len(settling) else None
            if following is not None and following[1] == id + 1 and following[2] == ok:
                continue
            state = Described(frames.ACCEPTED, []) if ok else Described(frames.REJECTED, [])
            told = [True, UInt(settling[start][1]), UInt(id), True, state]
            self._pipe.out += framed(frames.DISPOSITION, told)
            start = number + 1
        for link in {link.handle: link for link, _, _ in settling}.values():
            if (link.settled - link.told) * 2 >= link.most:
                self._credit(link)

    # ---- messages

    def send(self, address: str, letter: Letter, told: Callable[[Outcome], None]) -> None:
        """See Line.send."""
        link = self._to.get(address)
        if link is None:
            link = self._to[address] = self._attach("to", address, False)
        data = written(letter)
        most = self._largest - 512
        parts = [data[at : at + most] for at in range(0, len(data), most)]
        self._wait(link, len(parts))
        number, self._number = self._number, self._number + 1
        self._told[number] = told
        for place, part in enumerate(parts):
            more = place + 1 < len(parts)
            first = [UInt(number), number.to_bytes(8, "big"), UInt(0), False] if not place else [None] * 4
            self._pipe.out += framed(frames.TRANSFER, [UInt(link.handle), *first, more], part)
            self._sent += 1
            self._room -= 1
        link.count += 1
        link.credit -= 1
        if len(self._pipe.out) > _SEEN:
            self._pipe.flush()

    def _wait(self, link: Link, parts: int) -> None:
        """Wait until the server takes another message."""
        deadline = monotonic() + self._settings.answer_seconds
        while link.credit < 1 or self._room < parts:
            self._pipe.flush()
            if not self._handle(deadline):
                raise self._pipe.lost("the server takes no more messages")

    def flush(self) -> None:
        """See Line.flush."""
        if self._settling:
            self._settle()
        self._pipe.flush()

    # ---- what comes

    def _taken(self, buffer: bytearray) -> Frame | None:
        return taken(buffer)

    def _does(self, frame: Frame) -> None:
        does = {
            frames.OPEN: self._opened, frames.BEGIN: self._began, frames.ATTACH: self._attached,
            frames.FLOW: self._flowed, frames.TRANSFER: self._transferred, frames.DISPOSITION: self._disposed,
        }.get(frame.code)  # fmt: skip
        if does is not None:
            does(frame)
        elif frame.code in (frames.DETACH, frames.END, frames.CLOSE):
            self._open = False
            raise self._refused(frame.field(2 if frame.code == frames.DETACH else 0))

    def _opened(self, frame: Frame) -> None:
        told = {str(name): str(value) for name, value in (frame.field(9) or {}).items()}
        self.product = f"{told.get('product', 'AMQP 1.0')} {told.get('version', '')}".strip()
        self._largest = min(int(frame.field(2) or _FRAME), _FRAME)
        idle = int(frame.field(4) or 0)
        if idle:
            self._pipe.beat(idle / 2000, frames.EMPTY)

    def _began(self, frame: Frame) -> None:
        self._came, self._room, self._begun = int(frame.field(1) or 0), int(frame.field(2) or 0), True

    def _attached(self, frame: Frame) -> None:
        name = str(frame.field(0))
        for link in self._links.values():
            if link.told_name == name:
                place = frame.field(5 if link.most else 6)
                if place is None:  # refused: a detach follows, which says why
                    return
                link.attached = True
                self._theirs[int(frame.field(1))] = link

    def _flowed(self, frame: Frame) -> None:
        self._room = int(frame.field(0) or 0) + int(frame.field(1) or 0) - self._sent
        link = None if frame.field(4) is None else self._theirs.get(int(frame.field(4)))
        if link is not None and not link.most:
            link.credit = int(frame.field(5) or 0) + int(frame.field(6) or 0) - link.count
        if frame.field(9):
            self._credit(link if link is not None and link.most else None)
            self._pipe.flush()

    def _transferred(self, frame: Frame) -> None:
        link = self._theirs[int(frame.field(0))]
        self._came += 1
        if frame.field(1) is not None:
            link.id = int(frame.field(1))
        link.coming += frame.body
        if frame.field(9):
            link.coming.clear()
        elif not frame.field(5):
            data = bytes(link.coming)
            link.coming.clear()
            link.count += 1
            tag = (link, link.id)
            try:
                letter = read(data, link.address, tag)
            except (ValueError, TypeError, IndexError) as error:  # it goes where messages go that cannot be read
                letter = Letter(data, None, link.address, f"no message of AMQP 1.0: {error}", tag=tag)
            self._ready.append((link.name, letter))

    def _disposed(self, frame: Frame) -> None:
        if not frame.field(0):
            return
        first = int(frame.field(1))
        outcome = _outcome(frame.field(4))
        for number in range(first, int(frame.field(2) if frame.field(2) is not None else first) + 1):
            told = self._told.pop(number, None)
            if told is not None:
                told(outcome)

    def _refused(self, error: Any) -> ConnectorError:
        """The error of the server's end of a link, a session or the connection."""
        condition, said = _why(error)
        if any(word in condition for word in _RIGHTS):
            hint = "grant reading and writing of the queue"
            return PrivilegeError(f"not allowed: {said}", path=self.where, hint=hint)
        if "not-found" in condition or "not_found" in said.lower():
            return NotFoundError(said, path=self.where, hint="check the queue's address and the prefix")
        if condition.endswith(("invalid-field", "not-implemented", "precondition-failed")):
            return ReadError(f"the server refused: {said}", path=self.where, hint="check the queue's address")
        return self._pipe.lost(f"{condition} {said}".strip() or "closed by the server")

    def close(self) -> None:
        """See Line.close."""
        if self._open:
            with suppress(ConnectorError):
                self.flush()
                self._pipe.out += framed(frames.CLOSE, [])
                self._pipe.flush()
                deadline = monotonic() + _LEAVING
                while self._handle(deadline):  # ends with the server's own close, so that all was taken
                    pass
            self._open = False
        self._pipe.close()


def _why(error: Any) -> tuple[str, str]:
    """The condition and the description of an error."""
    if not isinstance(error, Described):
        return "", ""
    told = [*error.value, None, None]
    return str(told[0] or ""), str(told[1] or told[0] or "")


def _outcome(state: Any) -> Outcome:
    """What a server did with a message."""
    code = state.code if isinstance(state, Described) else frames.ACCEPTED
    if code == frames.ACCEPTED:
        return Outcome(Result.OK, Op.CREATE, 200)
    if code == frames.RELEASED:
        return Outcome(Result.FAILED, detail="the server gave the message back: no queue takes it")
    if code == frames.MODIFIED:
        return Outcome(Result.AGAIN, detail="the server did not take the message")
    return Outcome(Result.FAILED, detail=f"the server rejected the message: {_why([*state.value, None][0])[1]}")
