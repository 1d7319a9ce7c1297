"""One call of a sender, before and after it was found to be genuine."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from tongqu.gateway.exchange import Reply
from tongqu.gateway.problems import Problem

_MILLISECONDS = 100_000_000_000
"""Numbers from here on count milliseconds: in seconds it would be the year 5138."""
_DIGITS = 15


@dataclass(frozen=True)
class Delivery:
    """What came: header names are lower-case, `query` has the parameters, `now` is Unix seconds."""

    method: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    now: float


@dataclass(frozen=True)
class Event:
    """What a genuine delivery tells. `body` is its text, decrypted; `id` what the scheme knows it again by, empty: by
    its body; `kind` the name of the kind of event, if it is told; `reply` the answer that the scheme prescribes."""

    body: bytes
    id: str = ""
    kind: str = ""
    reply: Reply | None = None


@dataclass(frozen=True)
class Probe:
    """A genuine call that only tries whether we are there: it is answered and not kept."""

    reply: Reply


class Verifier(Protocol):
    """A scheme with its secrets."""

    def opened(self, delivery: Delivery) -> Event | Probe:
        """What the delivery tells; raises Problem `auth.invalid`, `auth.missing` or `auth.expired` for one that is not
        proven, `body.malformed` for one that cannot be read."""
        ...


@dataclass(frozen=True)
class Keys:
    """The secrets of a hook, resolved; the present one first. Never shown."""

    secrets: tuple[str, ...] = field(repr=False)
    tokens: tuple[str, ...] = field(default=(), repr=False)


def same(given: bytes, wanted: Iterable[bytes]) -> bool:
    """Whether it is one of those that would be right; takes as long whichever it is, or none."""
    found = False
    for one in wanted:
        found |= hmac.compare_digest(given, one)
    return found


def missing(what: str) -> Problem:
    """The refusal of a delivery that does not even try to prove itself."""
    return Problem("auth.missing", f"{what} is missing")


def invalid() -> Problem:
    """The refusal of a delivery that is not proven: never tells what would have been right."""
    return Problem("auth.invalid", "the delivery is not proven to come from its sender")


def fresh(text: str, now: float, tolerance: int) -> str:
    """The signed time as it came; raises Problem `auth.expired` where it is too far from ours in either direction."""
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise invalid()
    seconds = int(text) / 1000 if int(text) >= _MILLISECONDS else int(text)
    if abs(seconds - now) > tolerance:
        raise Problem("auth.expired", "the delivery was signed too long ago, or in the future: compare the clocks")
    return text


def document(body: bytes) -> Mapping[str, object]:
    """A JSON object; raises Problem `body.malformed`."""
    try:
        found = orjson.loads(body)
    except (ValueError, RecursionError):
        raise Problem("body.malformed", "the body is no JSON document") from None
    if not isinstance(found, dict):
        raise Problem("body.malformed", "the body is no JSON object")
    return found


def unbased(text: str) -> bytes:
    """What stands there in base64; raises Problem `auth.invalid`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid() from None
