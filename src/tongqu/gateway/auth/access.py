"""Access tokens (RFC 9068): what stands in one, and what the gateway believes of it.

A token names who calls and how it is limited; roles and attributes are looked up when it is shown, so that a changed
right counts for tokens that are out already. `gen` holds the epochs of everybody the token depends on: raising one
makes all older tokens void.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tongqu.core.policy import Actor
from tongqu.gateway.auth.compact import BadTokenError, Compact, for_audience, in_time, read
from tongqu.gateway.auth.keyring import Keyring
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.store.identity.clients import Client
from tongqu.store.identity.identities import Identities
from tongqu.store.identity.users import User

TYP = "at+jwt"
_LONGEST = 3600.0


@dataclass(frozen=True)
class Grant:
    """What a token is to say. `subject` is `client:NAME` or `user:NAME`, `client` who asked for it."""

    subject: str
    client: str
    scope: tuple[str, ...] = ()
    act: Mapping[str, Any] | None = None
    """Who acts for the subject, and for whom that one acts (RFC 8693 §4.1)."""
    cnf: Mapping[str, str] | None = None
    """The certificate it is bound to (RFC 8705)."""
    family: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Known:
    """A caller that a token or key stands for."""

    actor: Actor
    until: float
    client: str = ""
    certificate: str = ""
    """Thumbprint of the certificate that must come with it; empty: none need."""
    purposes: tuple[str, ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)
    credential: str = ""


class Access:
    """Makes and believes this gateway's own access tokens."""

    def __init__(self, identities: Identities, settings: IdentitySettings, keyring: Keyring):
        self.identities = identities
        self.keyring = keyring
        self._own = f"urn:tongqu:{identities.seal.derived('instance').hex()[:16]}"
        self.settings = settings
        """What counts now; swapped whole."""

    @property
    def issuer(self) -> str:
        """The name that stands in tokens as `iss`."""
        return self.settings.issuer or self._own

    def adopt(self, settings: IdentitySettings) -> None:
        """Give and believe tokens so from now on."""
        self.settings = settings
        self.keyring.adopt(settings.key_days)

    def token(self, grant: Grant) -> tuple[str, int]:
        """A signed token and its life in seconds; raises BadTokenError if one it depends on is not alive."""
        now = self.identities.database.seconds()
        life = min(grant.seconds or self.settings.token_seconds, _LONGEST)
        client = self.identities.clients.get(grant.client)
        ends = [one.expires for one in (client, self._subject(grant.subject)) if one is not None and one.expires]
        life = int(min([life, *(end - now for end in ends)]))
        gen = {name: self._epoch(name) for name in _depends(grant)}
        if life <= 0 or None in gen.values():
            raise BadTokenError("a caller is disabled, or its time is over")
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.settings.audience,
            "sub": grant.subject,
            "client_id": grant.client,
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + life,
            "jti": secrets.token_urlsafe(12),
            "gen": gen,
        }
        more = {"scope": " ".join(grant.scope), "act": grant.act, "cnf": grant.cnf, "fam": grant.family}
        claims.update({name: value for name, value in more.items() if value})
        return self.keyring.sign(claims, TYP), life

    def claims(self, text: str) -> Mapping[str, Any]:
        """The claims of a token of ours that is good now; raises BadTokenError, ExpiredError where it was good."""
        return self.checked(read(text))

    def checked(self, token: Compact) -> Mapping[str, Any]:
        """As `claims`, of a token whose parts were read."""
        if str(token.header.get("typ", "")).lower() not in (TYP, f"application/{TYP}"):
            raise BadTokenError("it is no access token")
        claims = self.keyring.verify(token)
        if claims.get("iss") != self.issuer:
            raise BadTokenError("somebody else issued it")
        for_audience(claims, (self.settings.audience,))
        in_time(claims, self.identities.database.seconds(), longest=_LONGEST)
        texts = all(isinstance(claims.get(name), str) for name in ("sub", "client_id", "jti"))
        gen = claims.get("gen")
        if not texts or not isinstance(gen, dict) or not {claims["sub"], f"client:{claims['client_id']}"} <= set(gen):
            raise BadTokenError("a claim is missing")
        if self.identities.tokens.revoked(claims["jti"]):
            raise BadTokenError("it was revoked")
        if "fam" in claims and not self.identities.tokens.family_alive(str(claims["fam"])):
            raise BadTokenError("its line of tokens was revoked")
        for name, epoch in gen.items():
            if not isinstance(epoch, int) or self._epoch(name) != epoch:
                raise BadTokenError("its caller was cut off, is disabled or has expired")
        return claims

    def known(self, claims: Mapping[str, Any]) -> Known:
        """The caller that checked claims stand for, with the roles it has now."""
        subject = self._subject(claims["sub"])
        client = self.identities.clients.get(str(claims["client_id"]))
        if subject is None or client is None:
            raise BadTokenError("its caller is gone")
        scopes = frozenset(str(claims.get("scope", "")).split())
        if scopes and client.scopes and not scopes & set(client.scopes):
            raise BadTokenError("its client may have nothing of its scope any more")
        if client.scopes:
            scopes = scopes & set(client.scopes) or frozenset(client.scopes)
        actor = self.actor(subject, scopes=scopes, client=client)
        if chain := _chain(claims.get("act")):
            attributes = MappingProxyType({**actor.attributes, "act": chain})
            actor = Actor(actor.id, actor.kind, actor.roles, attributes, scopes=actor.scopes, subject=actor.id,
                          sandbox=actor.sandbox)  # fmt: skip
        cnf = claims.get("cnf")
        bound = str(cnf.get("x5t#S256", "?")) if isinstance(cnf, Mapping) else ""
        until = float(claims["exp"])
        return Known(actor, until, client.id, bound, client.purposes, claims)

    def actor(self, who: Client | User, *, scopes: frozenset[str] = frozenset(), client: Client | None = None) -> Actor:
        """The actor for a client or person; a person has the client it came by as the attribute `client`."""
        if isinstance(who, Client):
            limits = scopes or frozenset(who.scopes)
            attributes = MappingProxyType({**who.attributes, "client": who.id})
            return Actor(f"client:{who.id}", "client", frozenset(who.roles), attributes, scopes=limits,
                         sandbox=who.sandbox)  # fmt: skip
        attributes = MappingProxyType({**who.attributes, **({"client": client.id} if client else {})})
        return Actor(f"user:{who.name}", "user", who.all_roles, attributes, scopes=scopes,
                     sandbox=client.sandbox if client else False)  # fmt: skip

    def _subject(self, name: str) -> Client | User | None:
        """The live client or person of a `sub`."""
        kind, _, id = name.partition(":")
        found: Client | User | None = None
        if kind == "client":
            found = self.identities.clients.get(id)
        elif kind == "user":
            found = self.identities.users.get(id)
        return found if found and found.alive(self.identities.database.seconds()) else None

    def _epoch(self, name: str) -> int | None:
        """The epoch of a live caller."""
        found = self._subject(name)
        return found.epoch if found else None


def _depends(grant: Grant) -> set[str]:
    return {grant.subject, f"client:{grant.client}", *_chain(grant.act)}


def _chain(act: Any) -> tuple[str, ...]:
    """Everybody in an `act` claim, the one who acts now first."""
    found: list[str] = []
    while isinstance(act, Mapping) and len(found) < 8:
        found.append(str(act.get("sub", "")))
        act = act.get("act")
    return tuple(found)
