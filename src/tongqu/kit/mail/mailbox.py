"""One connection to an IMAP server (RFC 3501): mailboxes, what is in them, and what is done to messages."""

from __future__ import annotations

import base64
import imaplib
import quopri
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from email.utils import getaddresses, parsedate_to_datetime
from fnmatch import fnmatchcase
from threading import RLock
from typing import Any

from tongqu.core.errors import AnswerError, AuthError, ConnectError, NotFoundError, ReadError
from tongqu.kit.egress.dial import Egress
from tongqu.kit.mail.answers import Attached, attachments, items, text_of, values
from tongqu.kit.mail.names import decoded, encoded
from tongqu.kit.mail.opening import opened, translated
from tongqu.kit.mail.settings import MailFilter, MailServer, Security
from tongqu.kit.tls import context

PORTS: dict[Security, int] = {"tls": 993, "starttls": 143, "none": 143}
_FIELDS = "FROM TO CC SUBJECT DATE MESSAGE-ID"
_ASKED = f"(UID RFC822.SIZE INTERNALDATE FLAGS BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS ({_FIELDS})])"
_AT_ONCE = 200


@dataclass(frozen=True)
class Message:
    """What is known of a message without its text."""

    uid: int
    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    subject: str
    date: datetime | None
    """When it was written, by its header."""
    received: datetime
    """When the server took it."""
    size: int
    flags: frozenset[str]
    message_id: str
    attached: tuple[Attached, ...] = field(default=())


@dataclass(frozen=True)
class State:
    """A mailbox's state: messages have growing numbers (`uid`) below `next`, which mean the same messages as long as
    `validity` does."""

    validity: int
    next: int
    writable: bool


class _Protocol(imaplib.IMAP4):
    """The protocol over a socket that is opened by us."""

    def __init__(self, made: socket.socket):
        self._made = made
        super().__init__()

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        del host, port, timeout
        self.sock = self._made
        self.file = self.sock.makefile("rb")


class Mailbox:
    """Connects when it is first needed, and again after the connection was lost. One thread at a time has it."""

    def __init__(self, server: MailServer, egress: Egress | None = None):
        self._server = server
        self._egress = egress
        self._port = server.port or PORTS[server.security]
        self._protocol: _Protocol | None = None
        self._selected: tuple[str, bool] = ("", False)
        self._lock = RLock()

    @property
    def _way(self) -> Egress:
        return self._egress or self._server.egress((self._server.host, self._port))

    @property
    def where(self) -> str:
        """The server, for messages."""
        return f"{self._server.host}:{self._port}"

    # ---- connecting

    def stages(self) -> Iterator[str]:
        """dns, tcp, tls where it is used, login."""
        server = self._server
        tls = context(server.tls) if server.security == "tls" else None
        yield from self._way.stages(server.host, self._port, tls=tls, seconds=server.connect_seconds)
        with self._talking() as protocol:
            version = protocol.sock.version() if isinstance(protocol.sock, ssl.SSLSocket) else ""
        if server.security == "starttls":
            yield f"tls: {version}"
        yield "login"

    @contextmanager
    def _talking(self) -> Iterator[_Protocol]:
        """The connection; it is given up when something goes wrong with it."""
        with self._lock:
            try:
                with translated(self.where):
                    if self._protocol is None:
                        self._protocol = self._connected()
                    try:
                        yield self._protocol
                    except imaplib.IMAP4.abort as error:
                        raise ConnectionResetError(_said(error)) from None
                    except imaplib.IMAP4.error as error:
                        raise ReadError(
                            f"{self.where} refused a command: {_said(error)}", path=self.where, hint="check the server"
                        ) from None
            except ConnectError:
                self._forget()
                raise

    def _connected(self) -> _Protocol:
        server = self._server
        made = opened(server, self._way, self._port)
        protocol: _Protocol | None = None
        try:
            protocol = _Protocol(made)
            self._let_in(protocol)
        except BaseException:
            made.close()
            if protocol is not None:
                with suppress(OSError):
                    protocol.shutdown()
            raise
        return protocol

    def _let_in(self, protocol: _Protocol) -> None:
        server = self._server
        if server.security == "starttls":
            if "STARTTLS" not in protocol.capabilities:
                raise ConnectError(
                    f"tls: {self.where} offers no STARTTLS", path=self.where, hint="use imaps://, or security: none"
                )
            protocol.host = server.host
            protocol.starttls(context(server.tls))
        self._login(protocol)
        _, told = protocol.capability()
        protocol.capabilities = tuple((told[-1] or b"").decode("ascii", "replace").upper().split())

    def _login(self, protocol: _Protocol) -> None:
        server = self._server
        try:
            secret = f"\0{server.user}\0{server.secret}".encode()
            if "AUTH=PLAIN" in protocol.capabilities:
                protocol.authenticate("PLAIN", lambda _: secret)
            else:
                protocol.login(server.user, server.secret)
        except imaplib.IMAP4.abort as error:
            raise ConnectionResetError(_said(error)) from None
        except imaplib.IMAP4.error as error:
            said = _said(error).replace(server.secret, "***") if server.secret else _said(error)
            raise AuthError(
                f"{self.where} refused the login of {server.user}: {said}",
                path=self.where,
                hint="check user and password; many providers want an app password and IMAP switched on",
            ) from None

    def _forget(self) -> None:
        protocol, self._protocol, self._selected = self._protocol, None, ("", False)
        if protocol is not None:
            with suppress(OSError, imaplib.IMAP4.error):
                protocol.shutdown()

    def close(self) -> None:
        """Log out; may be called twice."""
        with self._lock:
            if self._protocol is not None:
                with suppress(OSError, imaplib.IMAP4.error):
                    self._protocol.logout()
            self._forget()

    # ---- mailboxes

    def names(self) -> list[str]:
        """All mailboxes that can be selected, `/` between the parts of a name."""
        with self._talking() as protocol:
            _, data = protocol.list()
        found = []
        for line in data:
            raw: bytes = b" ".join(line) if isinstance(line, tuple) else line or b""
            matched = re.match(rb'\((?P<flags>[^)]*)\) (?P<split>NIL|"(?:\\.|[^"])*") (?P<name>.*)', raw)
            if matched and b"\\noselect" not in matched["flags"].lower():
                split = matched["split"].strip(b'"').decode() if matched["split"] != b"NIL" else ""
                name = decoded(matched["name"].strip().strip(b'"').replace(b"\\\\", b"\\").replace(b'\\"', b'"'))
                found.append(name.replace(split, "/") if split else name)
        return sorted(found)

    def select(self, name: str, *, write: bool = False) -> State:
        """Make a mailbox the one that is asked about; raises NotFoundError."""
        with self._talking() as protocol:
            kind, data = protocol.select(self._quoted(protocol, name), readonly=not write)
            if kind != "OK":
                self._selected = ("", False)
                said = (data[0] or b"").decode("utf-8", "replace")
                raise NotFoundError(f"{self.where} has no mailbox {name!r}: {said}", path=name, hint="check its name")
            self._selected = (name, write)
            validity = int((protocol.response("UIDVALIDITY")[1][0] or b"0").decode())
            following = protocol.response("UIDNEXT")[1][0]
            if following is None:
                found = self._asked(protocol, "SEARCH", "UID", "*")
                following = str(max(map(int, (found[0] or b"0").split()), default=0) + 1).encode()
            return State(validity, int(following), write)

    def make(self, name: str) -> None:
        """Create a mailbox; nothing happens if it is there."""
        with self._talking() as protocol:
            protocol.create(self._quoted(protocol, name))

    def _quoted(self, protocol: _Protocol, name: str) -> str:
        _, data = protocol.list('""', '""')
        first: Any = data[0] if data else b""
        matched = re.match(rb'\([^)]*\) (NIL|"(?:\\.|[^"])*")', first or b"")
        split = matched[1].strip(b'"').decode() if matched and matched[1] != b"NIL" else "/"
        text = encoded(name.replace("/", split or "/"))
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    @contextmanager
    def _in(self, name: str, *, write: bool = False) -> Iterator[_Protocol]:
        """The connection with that mailbox selected; no other thread selects another one meanwhile."""
        with self._lock:
            with self._talking():
                if self._selected != (name, write):
                    self.select(name, write=write)
            with self._talking() as protocol:
                yield protocol

    def _asked(self, protocol: _Protocol, command: str, *arguments: str) -> list[Any]:
        """What a command about messages gives; raises ReadError if the server says NO: nothing it gave is the whole."""
        kind, data = protocol.uid(command, *arguments)
        if kind != "OK":
            said = data[0].decode("utf-8", "replace") if data and isinstance(data[0], bytes) else ""
            raise ReadError(f"{self.where} refused {command}: {said}", path=self.where, hint="run again later")
        return list(data)

    # ---- messages

    def uids(self, name: str, first: int, last: int, criteria: Sequence[str] = ()) -> list[int]:
        """The messages from `first` to `last`, both included, that fit."""
        if first > last:
            return []
        with self._in(name) as protocol:
            data = self._asked(protocol, "SEARCH", "UID", f"{first}:{last}", *criteria)
        return sorted(uid for uid in map(int, (data[0] or b"").split()) if first <= uid <= last)

    def messages(self, name: str, uids: Sequence[int]) -> Iterator[Message]:
        """These messages, as far as they are still there."""
        for start in range(0, len(uids), _AT_ONCE):
            some = ",".join(map(str, uids[start : start + _AT_ONCE]))
            with self._in(name) as protocol:
                data = self._asked(protocol, "FETCH", some, _ASKED)
            found = [_message(items(one)) for one in values(data) if one]
            yield from sorted((one for one in found if one is not None), key=lambda one: one.uid)

    def fitting(self, name: str, first: int, last: int, wanted: MailFilter) -> Iterator[Message]:
        """The messages from `first` to `last` that the filter lets through."""
        uids = self.uids(name, first, last, wanted.criteria())
        return (one for one in self.messages(name, uids) if fits(one, wanted))

    def content(self, name: str, uid: int, part: Attached) -> bytes:
        """The decoded content of an attachment; raises NotFoundError if the message is gone."""
        with self._in(name) as protocol:
            data = self._asked(protocol, "FETCH", str(uid), f"(UID BODY.PEEK[{part.section}])")
        for answer in values(data):
            raw = items(answer).get(f"BODY[{part.section}]")
            if isinstance(raw, bytes):
                return _content(raw, part.encoding)
        raise NotFoundError(f"{self.where}: the message {uid} of {name!r} is gone", path=name, hint="run again")

    def flag(self, name: str, uids: Iterable[int], flag: str) -> None:
        """Give messages a flag (`\\Seen`)."""
        listed = ",".join(map(str, uids))
        if listed:
            with self._in(name, write=True) as protocol:
                self._asked(protocol, "STORE", listed, "+FLAGS.SILENT", f"({flag})")

    def move(self, name: str, uids: Iterable[int], target: str) -> None:
        """Move messages into another mailbox, which is there; those that are gone count as moved."""
        listed = ",".join(map(str, uids))
        if not listed:
            return
        with self._in(name, write=True) as protocol:
            place = self._quoted(protocol, target)
            if "MOVE" in protocol.capabilities:
                kind, data = protocol.uid("MOVE", listed, place)
            else:
                kind, data = protocol.uid("COPY", listed, place)
            if kind != "OK":
                said = (data[0] or b"").decode("utf-8", "replace") if data else ""
                raise NotFoundError(
                    f"{self.where} does not move into {target!r}: {said}", path=target, hint="create it"
                )
            if "MOVE" not in protocol.capabilities:
                self._asked(protocol, "STORE", listed, "+FLAGS.SILENT", "(\\Deleted)")
                self._expunged(protocol, listed)

    def delete(self, name: str, uids: Iterable[int]) -> None:
        """Delete messages. A server without UIDPLUS only marks them: removing would take others with them."""
        listed = ",".join(map(str, uids))
        if listed:
            self.flag(name, map(int, listed.split(",")), "\\Deleted")
            with self._in(name, write=True) as protocol:
                self._expunged(protocol, listed)

    def _expunged(self, protocol: _Protocol, listed: str) -> None:
        if "UIDPLUS" in protocol.capabilities:
            self._asked(protocol, "EXPUNGE", listed)


def fits(message: Message, wanted: MailFilter) -> bool:
    """Whether a filter lets a message through; letters' case does not count."""
    tests = ((wanted.sender, message.sender), (wanted.subject, message.subject))
    return all(not glob or fnmatchcase(text.lower(), glob.lower()) for glob, text in tests)


def _message(answer: dict[str, Any]) -> Message | None:
    if "UID" not in answer:
        return None
    header = next((value for name, value in answer.items() if name.startswith("BODY[HEADER")), None) or b""
    fields = BytesHeaderParser().parsebytes(header if isinstance(header, bytes) else b"")
    named = {name: text_of(str(fields.get(name, "")).encode("utf-8", "surrogateescape")) for name in _FIELDS.split()}
    people = {name: tuple(a for _, a in getaddresses([named[name]]) if a) for name in ("FROM", "TO", "CC")}
    flags = [flag.decode("ascii", "replace") for flag in answer.get("FLAGS") or () if isinstance(flag, bytes)]
    return Message(
        uid=int(answer["UID"]),
        sender=(people["FROM"] or ("",))[0],
        to=people["TO"],
        cc=people["CC"],
        subject=" ".join(named["SUBJECT"].split()),
        date=_date(named["DATE"]),
        received=_received(answer.get("INTERNALDATE")),
        size=int(answer.get("RFC822.SIZE") or 0),
        flags=frozenset(flags),
        message_id=named["MESSAGE-ID"].strip(),
        attached=tuple(attachments(answer.get("BODYSTRUCTURE"))),
    )


def _received(value: Any) -> datetime:
    text = value.decode("ascii", "replace").strip() if isinstance(value, bytes) else ""
    try:
        return datetime.strptime(text, "%d-%b-%Y %H:%M:%S %z").astimezone(UTC)
    except ValueError:
        raise AnswerError(f"the server gives {text!r} as the time of a message", hint="check the server") from None


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _content(raw: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        try:
            return base64.b64decode(raw)
        except ValueError as error:
            raise AnswerError(
                f"an attachment is no base64: {error}", hint="open the message in a mail program"
            ) from None
    return quopri.decodestring(raw) if encoding == "quoted-printable" else raw


def _said(error: BaseException) -> str:
    first = error.args[0] if error.args else type(error).__name__
    return (first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first))[:300]
