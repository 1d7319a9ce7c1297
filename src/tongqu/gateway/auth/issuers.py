"""Tokens of other servers (OpenID Connect): their keys, and what their claims mean here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from types import MappingProxyType
from typing import Any

from tongqu.core.errors import TongquError
from tongqu.core.policy import Actor
from tongqu.gateway.auth.access import Known
from tongqu.gateway.auth.compact import BadTokenError, Compact, for_audience, in_time, verified
from tongqu.gateway.auth.settings import IssuerEntry

Fetch = Callable[[str, IssuerEntry], bytes]
"""Gets what stands at an address; raises TongquError."""
FRESH = 600.0
"""Seconds that keys are believed without asking again."""
PAUSE = 15.0
"""Seconds between two attempts to get keys, however many unknown ones are shown."""
_OF_LOGIN = frozenset(("openid", "profile", "email", "address", "phone", "offline_access"))
"""Scopes of OpenID Connect: they are about what the issuer tells, and limit nothing here."""
_KINDS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "ES384": "EC", "EdDSA": "OKP"}


@dataclass
class _Keys:
    found: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    got: float = -1e9
    tried: float = -1e9
    lock: Lock = field(default_factory=Lock)


class Issuers:
    """The servers that are believed. `check` may wait for their keys: call it off the event loop."""

    def __init__(
        self,
        entries: Mapping[str, IssuerEntry],
        fetch: Fetch,
        *,
        seconds: Callable[[], float],
        elapsed: Callable[[], float] = time.monotonic,
        before: Issuers | None = None,
    ):
        """`before`: keys of entries that are the same as there are known already."""
        self._entries = {entry.issuer: (name, entry) for name, entry in entries.items()}
        self._fetch = fetch
        self._seconds = seconds
        self._elapsed = elapsed
        known: Mapping[str, tuple[IssuerEntry | None, _Keys | None]] = {} if before is None else before.known()
        self._keys: dict[str, _Keys] = {}
        for entry in entries.values():
            same, keys = known.get(entry.issuer, (None, None))
            self._keys[entry.issuer] = keys if keys is not None and same == entry else _Keys()

    def known(self) -> dict[str, tuple[IssuerEntry, _Keys]]:
        """Each entry and its keys, by the issuer's name."""
        return {name: (entry, self._keys[name]) for name, (_, entry) in self._entries.items()}

    def knows(self, token: Compact) -> bool:
        """Whether the token says to be from one of them."""
        return token.claims.get("iss") in self._entries

    def check(self, token: Compact) -> Known:
        """The caller; raises BadTokenError. A token of an unknown issuer, for another audience, without `exp` or of an
        algorithm that the entry does not list is refused before any key is asked for."""
        name, entry = self._entries[token.claims["iss"]]
        claims = token.claims
        if token.alg not in entry.algorithms or token.header.get("typ", entry.typ[0]) not in entry.typ:
            raise BadTokenError("algorithm or type are not the entry's")
        for_audience(claims, (entry.audience,))
        in_time(claims, self._seconds())
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise BadTokenError("there is no sub")
        verified(token, self._key(entry, token), token.alg)
        return Known(_actor(name, entry, subject, claims), float(claims["exp"]), purposes=entry.purposes)

    def _key(self, entry: IssuerEntry, token: Compact) -> Any:
        from joserfc.errors import JoseError
        from joserfc.jwk import import_key

        keys = self._keys[entry.issuer]
        with keys.lock:
            now = self._elapsed()
            stale = now - keys.got > FRESH or token.kid not in keys.found
            if stale and now - keys.tried > PAUSE:
                keys.tried = now
                try:
                    keys.found, keys.got = self._asked(entry), now
                except TongquError:
                    if not keys.found:
                        raise
            found = keys.found.get(token.kid)
        if found is None or found.get("kty") != _KINDS[token.alg] or found.get("alg", token.alg) != token.alg:
            raise BadTokenError("no key of that name for that algorithm")
        try:
            return import_key(dict(found))
        except (JoseError, ValueError, TypeError) as error:
            raise BadTokenError("its key is damaged") from error

    def _asked(self, entry: IssuerEntry) -> dict[str, Mapping[str, Any]]:
        url = entry.jwks_url
        if url is None:
            told = _object(self._fetch(f"{entry.issuer.rstrip('/')}/.well-known/openid-configuration", entry))
            if told.get("issuer") != entry.issuer or not isinstance(told.get("jwks_uri"), str):
                raise BadTokenError("the discovery document is another issuer's")
            url = str(told["jwks_uri"])
        keys = _object(self._fetch(url, entry)).get("keys", [])
        return {
            str(key.get("kid", "")): key
            for key in keys
            if isinstance(key, dict) and key.get("use", "sig") == "sig" and key.get("kty") in set(_KINDS.values())
        }


def _actor(name: str, entry: IssuerEntry, subject: str, claims: Mapping[str, Any]) -> Actor:
    told = _claim(claims, entry.roles_claim)
    groups = [told] if isinstance(told, str) else told if isinstance(told, list) else []
    roles = frozenset(role for group in groups for role in entry.roles.get(str(group), ()))
    attributes = {here: value for here, there in entry.attributes.items() if _simple(value := _claim(claims, there))}
    if isinstance(claims.get("azp"), str):
        attributes["client"] = f"{name}/{claims['azp']}"  # never the name of a client of ours
    scopes = frozenset(here for there in _scopes(claims) for here in entry.scopes.get(there, (there,)))
    return Actor(f"{entry.kind}:{name}/{subject}", entry.kind, roles, MappingProxyType(attributes), scopes=scopes)


def _scopes(claims: Mapping[str, Any]) -> set[str]:
    """What a token is limited to: `scope` (RFC 8693), or `scp` as a text (Entra ID) or list (Okta)."""
    found: set[str] = set()
    for name in ("scope", "scp"):
        told = claims.get(name, "")
        words = told if isinstance(told, list) else str(told).split()
        found.update(str(word) for word in words)
    return found - _OF_LOGIN


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, else by the way that points lead into objects."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _simple(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) or (
        isinstance(value, list) and all(isinstance(one, str) for one in value)
    )


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise BadTokenError("the issuer's answer is no JSON") from error
    if not isinstance(found, dict):
        raise BadTokenError("the issuer's answer is no object")
    return found


def fetched(url: str, entry: IssuerEntry) -> bytes:
    """What stands at an issuer's address, by the rules of egress: the address the operator wrote is granted, one that
    came out of a document on another host is not trusted to be inside."""
    from contextlib import closing
    from urllib.parse import urlsplit

    from tongqu.kit.http.call import Call, Grant
    from tongqu.kit.http.client import Http
    from tongqu.kit.http.settings import HttpSettings

    told = {
        "base_url": entry.issuer,
        "tls": {"ca_file": entry.ca_file},
        "timeouts": {"connect_seconds": 3, "read_seconds": 5, "call_seconds": 8},
        "retry": {"attempts": 2},
        "limits": {"answer_bytes": 1 << 20},
    }
    written = {urlsplit(one).netloc for one in (entry.issuer, entry.jwks_url or entry.issuer)}
    grant = Grant.OPERATOR if urlsplit(url).netloc in written else Grant.DATA
    with closing(Http(HttpSettings.parse(told, "identity.issuers"))) as http:
        return http.send(Call("GET", url, grant=grant)).content
