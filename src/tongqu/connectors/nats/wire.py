"""NATS's client protocol over one of our own sockets: log in, publish, subscribe, ask and be answered.

Source: "NATS Client Protocol" (docs.nats.io), with headers (HPUB, HMSG) and NKey signatures (Ed25519 over the nonce).
"""

from __future__ import annotations

import base64
import json
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from tongqu.connectors.nats.settings import NatsSettings
from tongqu.core.errors import AuthError, ConnectError, ConnectorError, PrivilegeError, ReadError
from tongqu.kit.drivers import driver
from tongqu.kit.pipe import Pipe
from tongqu.kit.tls import Tls

_SEEN = 1 << 20
_LOGIN = ("authorization violation", "authentication", "user authentication expired", "account authentication")


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came. `status` is the server's word instead of a message: 404 nothing there, 408 waited long
    enough, 409 the consumer is gone, 503 nobody listens; 0 for a message proper."""

    sid: str
    subject: str
    reply: str
    head: bytes
    data: bytes
    status: int = 0

    def headers(self) -> list[tuple[str, str]]:
        """Names and values in their order; a name may come several times."""
        lines = self.head.decode("utf-8", "backslashreplace").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return [(name, value.strip()) for name, _, value in pairs]


class Wire:
    """One connection; used by one thread at a time. Raises ConnectError (retryable) for a lost one, AuthError,
    PrivilegeError, CertificateError."""

    def __init__(self, settings: NatsSettings):
        self._settings = settings
        self.where = settings.display()
        self._pongs = 0
        self._ready: deque[Message] = deque()
        self._number = 0
        self._inbox = f"_INBOX.{secrets.token_hex(11)}"
        self.info: dict[str, Any] = {}
        self._pipe = Pipe(settings, greeted=True)
        try:
            self._begin()
        except BaseException:
            self._pipe.close()
            raise

    # ---- login

    def _begin(self) -> None:
        settings = self._settings
        deadline = monotonic() + settings.connect_seconds
        while not self.info:
            if not self._pipe.fill(deadline):
                raise self._pipe.lost("it says nothing")
            self._parse()
        if not self.info.get("headers"):
            raise ReadError("the server is older than NATS 2.2: it knows no headers", path=self.where)
        if settings.tls is not None or self.info.get("tls_required"):
            self._pipe.secure(settings.tls or Tls(), max(deadline - monotonic(), 0.1))
        options: dict[str, Any] = {
            "verbose": False, "pedantic": False, "lang": "python", "version": "1", "name": "tongqu", "protocol": 1,
            "headers": True, "no_responders": True, "echo": False,
        } | self._credentials()  # fmt: skip
        self._pipe.out += b"CONNECT " + json.dumps(options).encode() + b"\r\n"
        self._pipe.out += f"SUB {self._inbox}.* 0\r\n".encode()
        self.ping(settings.connect_seconds)

    def _credentials(self) -> dict[str, Any]:
        settings = self._settings
        if settings.seed is not None:
            public, signed = _signed(settings.seed.get_secret_value(), self.info.get("nonce", ""), self.where)
            told = {"sig": signed}
            jwt = settings.jwt.get_secret_value() if settings.jwt else ""
            return told | ({"jwt": jwt} if jwt else {"nkey": public})
        if settings.token is not None:
            return {"auth_token": settings.token.get_secret_value()}
        if settings.user:
            return {"user": settings.user, "pass": settings.password.get_secret_value() if settings.password else ""}
        return {}

    @property
    def version(self) -> str:
        """The server's version."""
        return str(self.info.get("version", ""))

    @property
    def largest(self) -> int:
        """Most bytes of one message, its headers among them."""
        return int(self.info.get("max_payload", 1 << 20))

    @property
    def secured(self) -> str:
        """The version of TLS; empty without."""
        return self._pipe.secured

    # ---- out

    def publish(self, subject: str, data: bytes, head: Mapping[str, str] | None = None, reply: str = "") -> None:
        """Note a message to be sent by the next `flush`; a subject and headers are one line of text each."""
        to = f"{subject} {reply}" if reply else subject
        if head:
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            told = f"NATS/1.0\r\n{lines}\r\n".encode()
            self._pipe.out += f"HPUB {to} {len(told)} {len(told) + len(data)}\r\n".encode() + told + data + b"\r\n"
        else:
            self._pipe.out += f"PUB {to} {len(data)}\r\n".encode() + data + b"\r\n"
        if len(self._pipe.out) > _SEEN:
            self.flush()

    def flush(self) -> None:
        """Send what is noted."""
        self._pipe.flush()

    def subscribe(self) -> tuple[str, str]:
        """An inbox of its own: what it is called in messages that come, and its subject."""
        self._number += 1
        sid, subject = str(self._number), f"{self._inbox}.s{self._number}.x"
        self._pipe.out += f"SUB {subject} {sid}\r\n".encode()
        return sid, subject

    def reply(self) -> str:
        """A subject for one answer."""
        self._number += 1
        return f"{self._inbox}.{self._number}"

    def ask(self, subject: str, question: Mapping[str, Any] | None = None) -> Message:
        """The answer to a question; messages that come meanwhile wait. Raises ConnectError after a while."""
        wanted = self.reply()
        self.publish(subject, b"" if question is None else json.dumps(question).encode(), reply=wanted)
        self.flush()
        kept: deque[Message] = deque()
        deadline = monotonic() + self._settings.answer_seconds
        try:
            while True:
                came = self.next(max(deadline - monotonic(), 0))
                if came is None:
                    raise self._pipe.lost("no answer in time")
                if came.subject == wanted:
                    return came
                if came.sid != "0":  # an answer that came too late is nobody's
                    kept.append(came)
        finally:
            self._ready.extendleft(reversed(kept))

    def ping(self, seconds: float) -> None:
        """Wait until the server has taken all that was sent."""
        self._pipe.out += b"PING\r\n"
        self.flush()
        deadline = monotonic() + seconds
        wanted = self._pongs + 1
        while self._pongs < wanted:
            if not self._pipe.fill(deadline):
                raise self._pipe.lost("no answer in time")
            self._parse()

    # ---- in

    def next(self, seconds: float) -> Message | None:
        """The next message; None if none comes in so many seconds."""
        if not self._ready:
            self._parse()
        if not self._ready:
            deadline = monotonic() + seconds
            while not self._ready and self._pipe.fill(deadline):
                self._parse()
        return self._ready.popleft() if self._ready else None

    def _parse(self) -> None:
        """Take all whole messages out of what was received."""
        buffer, at = self._pipe.buffer, 0
        while (end := buffer.find(b"\r\n", at)) >= 0:
            line = bytes(buffer[at:end])
            word = line[:4].upper()
            if word in (b"MSG ", b"HMSG"):
                parts = line.split()
                size = int(parts[-1])
                if len(buffer) < end + size + 4:
                    break
                self._ready.append(_message(parts, bytes(buffer[end + 2 : end + 2 + size])))
                at = end + size + 4
                continue
            at = end + 2
            if word == b"PING":
                self._pipe.out += b"PONG\r\n"
                self.flush()
            elif word == b"PONG":
                self._pongs += 1
            elif word == b"INFO":
                self.info = json.loads(line[5:])
            elif word == b"-ERR":
                del buffer[:at]
                raise self._refused(line[5:].decode("utf-8", "replace").strip("' "))
        if at:
            del buffer[:at]

    # ---- ends

    def _refused(self, said: str) -> ConnectorError:
        low = said.lower()
        if low.startswith(_LOGIN):
            return AuthError("the server refused the login", path=self.where, hint="check user, password, token, seed")
        if low.startswith("permissions violation"):
            hint = "grant publish on $JS.API.> and the subjects, subscribe on _INBOX.>"
            return PrivilegeError(f"not allowed: {said}", path=self.where, hint=hint)
        return ConnectError(f"the server ended the connection: {said}", path=self.where)

    def close(self) -> None:
        """Release the connection; may be called twice."""
        self._pipe.close()


def _message(parts: list[bytes], body: bytes) -> Message:
    """A message of `MSG subject sid [reply] size` or `HMSG subject sid [reply] headers size`."""
    headed = parts[0].upper() == b"HMSG"
    reply = parts[3].decode() if len(parts) == (6 if headed else 5) else ""
    size = int(parts[-2]) if headed else 0
    head = body[:size]
    first = head[8:12].strip() if head.startswith(b"NATS/1.0 ") else b""
    status = int(first) if first.isdigit() else 0
    return Message(parts[2].decode(), parts[1].decode(), reply, head, body[size:], status)


def _signed(seed: str, nonce: str, where: str) -> tuple[str, str]:
    """The public NKey of a seed, and the nonce signed by it.

    A seed is base32 of two bytes of prefixes (their kinds in five bits each), 32 bytes and a CRC-16; a public key that
    of one byte, 32 bytes and the CRC.
    """
    ed25519 = driver("cryptography.hazmat.primitives.asymmetric.ed25519", "nats")
    text = seed.strip()
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
        if len(raw) != 36 or _crc(raw[:-2]).to_bytes(2, "little") != raw[-2:]:
            raise ValueError("not a seed")
    except ValueError:
        hint = "a seed begins with SU and has 58 characters"
        raise AuthError("the NKey seed is none", path=where, hint=hint) from None
    key = ed25519.Ed25519PrivateKey.from_private_bytes(raw[2:34])
    kind = bytes([((raw[0] & 7) << 5) | (raw[1] >> 3)])
    public = kind + key.public_key().public_bytes_raw()
    public += _crc(public).to_bytes(2, "little")
    signature = base64.urlsafe_b64encode(key.sign(nonce.encode())).rstrip(b"=").decode()
    return base64.b32encode(public).rstrip(b"=").decode(), signature


def _crc(data: bytes) -> int:
    """CRC-16/XMODEM, as NKeys have it."""
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x1021 if value & 0x8000 else value << 1) & 0xFFFF
    return value
