"""Opaque cursors: where the next page starts, signed so that they fit only the question they were given for."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Any

import orjson

from tongqu.gateway.problems import Problem

_MAC = 16
_LONGEST = 3000


def _payload(told: Any) -> bytes:
    try:
        return orjson.dumps(told, default=str)
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"), default=str).encode()


@dataclass(frozen=True)
class Cursors:
    """Makes and opens cursors. `key` (at most 64 bytes) signs them by keyed BLAKE2b (RFC 7693), `version` is the
    configuration's (a cursor of another one is refused), `now` gives seconds since 1970, `seconds` is how long a cursor
    is good.

    A cursor holds the digest of the question with all its values, of the caller's rights and of `version`, its expiry,
    and either the values of the last row's order or an offset. It is signed, not encrypted: it holds nothing but values
    that the caller was given.
    """

    key: bytes = field(repr=False)
    version: str
    now: Callable[[], float]
    seconds: int = 86_400

    def made(self, question: str, values: Sequence[Any] | int) -> str:
        """The cursor behind a row whose order values these are, or behind an offset; empty if it would be too long."""
        told = [self._digest(question), int(self.now()) + self.seconds, values]
        payload = _payload(told)
        token = base64.urlsafe_b64encode(payload + self._mac(payload)).rstrip(b"=").decode()
        return token if len(token) <= _LONGEST else ""

    def opened(self, question: str, token: str) -> list[Any] | int:
        """What a cursor of the same question holds. Raises Problem `cursor.invalid` for any other, and an old one."""
        try:
            if len(token) > _LONGEST:
                raise ValueError
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            payload, mac = raw[:-_MAC], raw[-_MAC:]
            if not hmac.compare_digest(mac, self._mac(payload)):
                raise ValueError
            digest, expires, values = json.loads(payload)
        except ValueError:
            raise Problem("cursor.invalid", "the cursor was not given by this API") from None
        if digest != self._digest(question):
            raise Problem(
                "cursor.invalid", "the cursor belongs to another query, other rights or another configuration"
            )
        if expires < self.now():
            raise Problem("cursor.invalid", "the cursor is too old; begin again")
        found: list[Any] | int = values
        return found

    def _digest(self, question: str) -> str:
        return sha256(f"{self.version}\0{question}".encode()).hexdigest()[:24]

    def _mac(self, payload: bytes) -> bytes:
        return blake2b(payload, digest_size=_MAC, key=self.key).digest()
