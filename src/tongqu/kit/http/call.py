"""What an HTTP call is and what comes back: the records every connector over HTTP speaks in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import Event

from tongqu.kit.egress.policy import Grant

__all__ = ["Call", "Grant", "Repeat", "Reply", "Stream"]


class Repeat(StrEnum):
    """Whether a call may be made again when nobody knows what became of it (RFC 9110 §9.2.2)."""

    SAFE = "safe"
    """It changes nothing, or changing twice is changing once."""
    KEYED = "keyed"
    """The peer knows the call again by its idempotency key."""
    NEVER = "never"
    """It may have had its effect: the outcome is then `unknown`."""


@dataclass(frozen=True)
class Call:
    """One HTTP call. `url` is absolute; `params` are added to its query in order; `headers` replace defaults."""

    method: str
    url: str
    params: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    repeat: Repeat | None = None
    """None: by the method, GET HEAD PUT DELETE OPTIONS may be made again and all others never. A PUT or DELETE that
    fails in the end may have had its effect (UnknownOutcomeError), unless it is expressly safe."""
    key: str = ""
    """Idempotency key, sent in the header that the connection names."""
    grant: Grant = Grant.OPERATOR
    seconds: float | None = None
    """Limit of the whole call in seconds; None: the connection's."""
    accepts: Sequence[int] = ()
    """Status codes beyond 2xx that are an answer and no error (404 where absence is one)."""
    anonymous: bool = False
    """Without the connection's credentials and headers, as when a token is asked for."""
    keep_seconds: float | None = None
    """How old a kept answer may be that saves the call (0: as the system says); None: the connection's rule."""
    stop: Event | None = None
    """Ends the call, its waits too, within a second with CancelledError."""
    file: Path | None = None
    """A file to send instead of `body`; it is read while it is sent, again for each attempt."""


@dataclass(frozen=True)
class Reply:
    """The whole answer to a call: never larger than the connection's limit, content decoded from its compression."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; values of repeated headers joined by `, `."""
    content: bytes
    url: str
    """Where it came from after redirects."""
    seconds: float = 0.0
    """From the first attempt to the last byte, waits included."""
    attempts: int = 1
    cached: bool = False
    """It came from the response cache or was confirmed by the system as unchanged (304)."""


@dataclass
class Stream:
    """An answer that is read while it arrives; `chunks` raises ReadError if it ends early or grows beyond the limit."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]
    url: str
