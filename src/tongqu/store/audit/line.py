"""One record of the audit trail as a line of text: number, hash over the record and the one before it, HMAC, record.

A line is `SCHEME SEQ HASH MAC JSON`. `HASH = H(HASH of the line before ‖ "SCHEME CHAIN SEQ " ‖ JSON)`, in hex; before
the first line stands `H("tongqu-audit-1 " ‖ CHAIN)`. `MAC = HMAC(key, HASH)`. `H` is SHA-256 (scheme `s2`) or SM3 (GB/T
32905, scheme `s3`, the gm profile), for the HMAC too. The JSON has no line break and no control character in it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tongqu.core.errors import AuditError

SCHEMES: Mapping[str, str] = {"s2": "sha256", "s3": "sm3"}
PROFILES: Mapping[str, str] = {"standard": "s2", "gm": "s3"}
"""The scheme of each profile; `gm` is 国密."""
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
LONGEST = 512
"""Longest text of a record in characters; what is longer is cut and ends in `…`."""


class Link(NamedTuple):
    """A place in a chain: the number of a record and the hash of its line. Numbers begin with 0."""

    seq: int
    hash: str


class Line(NamedTuple):
    """A line that was read: where it stands in its chain, and the record's bytes."""

    link: Link
    body: bytes

    @property
    def record(self) -> dict[str, Any]:
        """The record."""
        made: dict[str, Any] = json.loads(self.body)
        return made


def usable(scheme: str) -> None:
    """Raises AuditError if this Python cannot make the scheme's hash."""
    try:
        hashlib.new(SCHEMES[scheme], b"")
    except ValueError as error:
        raise AuditError(
            f"this Python has no {SCHEMES[scheme].upper()}", hint="use a Python whose OpenSSL has it"
        ) from error


def first(chain: str, scheme: str) -> Link:
    """What stands before the first line of a chain."""
    return Link(-1, hashlib.new(SCHEMES[scheme], f"tongqu-audit-1 {chain}".encode()).hexdigest())


def written(chain: str, scheme: str, before: Link, body: bytes, key: bytes) -> tuple[Link, bytes]:
    """The line of a record behind `before`, with its line break."""
    seq = before.seq + 1
    hash = _hash(chain, scheme, before.hash, seq, body)
    mac = hmac.digest(key, hash.encode(), SCHEMES[scheme]).hex()
    return Link(seq, hash), b"%s %d %s %s %s\n" % (scheme.encode(), seq, hash.encode(), mac.encode(), body)


def read(chain: str, before: Link | None, text: bytes, key: bytes) -> Line:
    """The record of a line without its line break. `before` is the link it must follow; None: the one it claims.

    Raises ValueError saying what is wrong: `form`, `order`, `hash` or `mac`.
    """
    parts = text.split(b" ", 4)
    scheme = parts[0].decode("ascii", "replace")
    if len(parts) != 5 or scheme not in SCHEMES or not parts[1].isdigit():
        raise ValueError("form")
    seq, hash = int(parts[1]), parts[2].decode("ascii", "replace")
    if before is not None and seq != before.seq + 1:
        raise ValueError("order")
    origin = first(chain, scheme) if before is None or before.seq < 0 else before
    if (before is not None or seq == 0) and _hash(chain, scheme, origin.hash, seq, parts[4]) != hash:
        raise ValueError("hash")
    mac = hmac.digest(key, hash.encode(), SCHEMES[scheme]).hex()
    if not hmac.compare_digest(mac.encode(), parts[3]) or b"%d" % seq != parts[1]:
        raise ValueError("mac")
    return Line(Link(seq, hash), parts[4])


def encoded(record: Mapping[str, Any]) -> bytes:
    """A record as JSON on one line; texts are cleaned (see `clean`)."""
    return json.dumps(_cleaned(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def clean(text: str) -> str:
    """The text on one line: control and direction characters are replaced by `\\uXXXX`, and it is cut at LONGEST."""
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(name)): _cleaned(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(inner) for inner in value]
    return value if value is None or isinstance(value, int | float | bool) else clean(str(value))


def _hash(chain: str, scheme: str, before: str, seq: int, body: bytes) -> str:
    made = hashlib.new(SCHEMES[scheme], f"{before}{scheme} {chain} {seq} ".encode())
    made.update(body)
    return made.hexdigest()
