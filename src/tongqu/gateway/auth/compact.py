"""Signed tokens in their compact form (RFC 7515, 7519), read with suspicion: none says how it is judged."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

LARGEST = 8192
"""Characters of a token that is looked at."""
LEEWAY = 30.0
"""Seconds that clocks may differ by."""
_PART = re.compile(r"[A-Za-z0-9_-]+")
_HEADER = frozenset({"alg", "typ", "kid"})
"""Header parameters that are understood. `jku`, `x5u`, `jwk`, `x5c` would let a token bring its own key, `crit` asks
for what is not understood: a token with any other parameter is refused."""


class BadTokenError(ValueError):
    """The token is not good; the text says why, for the owner and not for the caller."""


@dataclass(frozen=True)
class Compact:
    """A token's parts; nothing is verified yet."""

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def alg(self) -> str:
        """The algorithm it says to be signed by; the key decides, this must only agree."""
        return str(self.header.get("alg", ""))

    @property
    def kid(self) -> str:
        """The name of the key it says to be signed by: looked up in a table, never a path or an address."""
        return str(self.header.get("kid", ""))


def read(text: str, *, more: Collection[str] = ()) -> Compact:
    """The parts of a token; raises BadTokenError for anything unusual. `more` are further header parameters that may
    stand there (and are ignored)."""
    if len(text) > LARGEST:
        raise BadTokenError("the token is too long")
    parts = text.split(".")
    if len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
        raise BadTokenError("not three parts of base64url")
    header, claims = _json(parts[0], "header"), _json(parts[1], "claims")
    if unknown := set(header) - _HEADER - set(more):
        raise BadTokenError(f"header parameter {min(unknown)!r} is not understood")
    if not all(isinstance(value, str) for name, value in header.items() if name in _HEADER):
        raise BadTokenError("a header parameter is no text")
    return Compact(text, header, claims)


def verified(token: Compact, key: Any, algorithm: str) -> Mapping[str, Any]:
    """The claims if the signature is good by this key and its one algorithm; raises BadTokenError."""
    from joserfc.errors import JoseError
    from joserfc.jws import JWSRegistry, deserialize_compact

    if token.alg != algorithm:
        raise BadTokenError("the algorithm is not the key's")
    try:
        registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        deserialize_compact(token.text, key, registry=registry)
    except (JoseError, ValueError, TypeError) as error:
        raise BadTokenError("the signature is not good") from error
    return token.claims


def in_time(claims: Mapping[str, Any], now: float, *, longest: float | None = None) -> None:
    """Raises ExpiredError or BadTokenError unless `exp` is there and ahead, and `nbf` and `iat` are not."""
    exp = _number(claims, "exp")
    if exp is None:
        raise BadTokenError("there is no exp")
    if now >= exp:
        raise ExpiredError("expired")
    for name in ("nbf", "iat"):
        value = _number(claims, name)
        if value is not None and value > now + LEEWAY:
            raise BadTokenError(f"{name} lies in the future")
    if longest is not None and exp > now + longest + LEEWAY:
        raise BadTokenError("it is good for too long")


class ExpiredError(BadTokenError):
    """The token was good once."""


def for_audience(claims: Mapping[str, Any], wanted: Collection[str]) -> None:
    """Raises BadTokenError unless the token is for one of `wanted`."""
    aud = claims.get("aud")
    told = [aud] if isinstance(aud, str) else aud
    if not isinstance(told, list) or not any(isinstance(one, str) and one in wanted for one in told):
        raise BadTokenError("it is for somebody else")


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadTokenError(f"{name} is no number")
    return float(value)


def _json(part: str, what: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
            raise BadTokenError(f"the {what} is not in its one form")
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refused)
    except (binascii.Error, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadTokenError(f"the {what} is no JSON") from error
    if not isinstance(found, dict):
        raise BadTokenError(f"the {what} is no object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise BadTokenError("a name comes twice")
    return made


def _refused(constant: str) -> Any:
    raise BadTokenError(f"{constant} is no number")
