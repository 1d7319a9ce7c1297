"""What an HTTP call is and what comes back: the records every connector over HTTP speaks in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Grant(StrEnum):
    """Who vouches for a call's address (design §12, Egress)."""

    OPERATOR = "operator"
    """It stands in a connection that the operator wrote."""
    DATA = "data"
    """It came from data: a next-page link, a redirect, a URL in a document. The SSRF rules bind it, and credentials go
    along only to the connection's own host."""


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
    """None: by the method, GET HEAD PUT DELETE OPTIONS are safe and all others never."""
    key: str = ""
    """Idempotency key, sent in the header that the connection names."""
    grant: Grant = Grant.OPERATOR
    seconds: float | None = None
    """Limit of the whole call in seconds; None: the connection's."""
    accepts: Sequence[int] = ()
    """Status codes beyond 2xx that are an answer and no error (404 where absence is one)."""


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
    attempts: int = 1
    cached: bool = False


@dataclass
class Stream:
    """An answer that is read while it arrives; `chunks` raises ReadError if it ends early or grows beyond the limit."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]
    url: str
