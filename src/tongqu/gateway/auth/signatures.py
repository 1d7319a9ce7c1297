"""Requests signed with an access key (AK/SK): HMAC-SHA256 over the request, a time and a nonce that counts once.

    Authorization: TONGQU2-HMAC-SHA256 Credential=AK, Timestamp=UNIX, Nonce=TEXT, Signature=HEX
    Tongqu-Content-SHA256: HEX          (where there is a body)

What is signed, one item a line: the scheme's name, the method, the host in lower case, the path, the query, the body's
SHA-256 in hex, the timestamp, the nonce, and of each header in `COVERED`, in that order, `name:value`, with nothing
behind the colon where the request has none. The first scheme, `TONGQU-HMAC-SHA256`, ends with the nonce. Path and query
names and values are percent-encoded in the one way of RFC 3986 (`A-Za-z0-9-._~` stay, the path keeps `/`), query pairs
are sorted by name, then value, and joined by `=` and `&`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

SCHEME = "TONGQU2-HMAC-SHA256"
OLD = "TONGQU-HMAC-SHA256"
"""The scheme that covers no headers."""
COVERED = ("content-type", "idempotency-key", "if-match", "if-none-match", "prefer", "tongqu-after", "tongqu-approval",
           "tongqu-purpose", "tongqu-reason", "tongqu-signature")  # fmt: skip
"""The headers that decide what a request does, or for what."""
CONTENT = "tongqu-content-sha256"
"""The header that tells the digest of the body."""
WINDOW = 300.0
"""Seconds that the timestamp may differ from the gateway's clock."""
EMPTY = hashlib.sha256(b"").hexdigest()
_FIELD = re.compile(r"([A-Za-z]+)=([^,\s]*)")


@dataclass(frozen=True)
class Signed:
    """What is signed of a request. `path` is percent-decoded, `pairs` are the query's names and values, decoded,
    `headers` have lower-case names."""

    method: str
    host: str
    path: str
    pairs: Iterable[tuple[str, str]]
    digest: str
    timestamp: str
    nonce: str
    headers: Mapping[str, str] = field(default_factory=dict)
    scheme: str = SCHEME

    def signature(self, secret: bytes) -> str:
        """The signature in hex."""
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(self.pairs))
        lines = [self.scheme, self.method.upper(), self.host.lower(), quote(self.path, safe="/"), query, self.digest,
                 self.timestamp, self.nonce]  # fmt: skip
        if self.scheme != OLD:
            lines += [f"{name}:{self.headers.get(name, '').strip()}" for name in COVERED]
        return hmac.new(secret, "\n".join(lines).encode(), hashlib.sha256).hexdigest()

    def header(self, id: str, secret: bytes) -> str:
        """The value of `Authorization`."""
        return (
            f"{self.scheme} Credential={id}, Timestamp={self.timestamp}, Nonce={self.nonce}, "
            f"Signature={self.signature(secret)}"
        )


def scheme_of(header: str) -> str:
    """The scheme of an `Authorization` value that is a signature; empty for others."""
    word = header.partition(" ")[0] if " " in header else ""
    return word if word in (SCHEME, OLD) else ""


def fields(header: str) -> tuple[str, str, str, str] | None:
    """Credential, timestamp, nonce and signature of an `Authorization` value; None where it is not of this form."""
    found = _FIELD.findall(header.partition(" ")[2])
    told = dict(found)
    if len(found) != 4 or set(told) != {"Credential", "Timestamp", "Nonce", "Signature"}:
        return None
    if not re.fullmatch(r"[0-9]{9,11}", told["Timestamp"]) or not re.fullmatch(r"[\w.~-]{8,64}", told["Nonce"]):
        return None
    return told["Credential"], told["Timestamp"], told["Nonce"], told["Signature"]
