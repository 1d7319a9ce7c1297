"""How a client proves at `/oauth` who it is: its secret, a signed assertion, or its certificate."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from tongqu.gateway.auth.access import Access
from tongqu.gateway.auth.compact import BadTokenError, Compact, for_audience, in_time, read, verified
from tongqu.gateway.auth.identify import thumbprint
from tongqu.gateway.auth.oauth.forms import OAuthError, refused_client
from tongqu.store.identity.clients import Client

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS = {"RSA": ("RS256", "PS256"), "EC": ("ES256", "ES384"), "OKP": ("EdDSA",)}
_LONGEST = 3600.0
"""Seconds that an assertion may be good for; its `jti` is remembered for as long."""
METHODS = (
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "self_signed_tls_client_auth",
    "none",
)


@dataclass(frozen=True)
class Proved:
    """A client that proved itself. `certificate` is the thumbprint of what it showed, to which its tokens are bound."""

    client: Client
    method: str
    certificate: str = ""


@dataclass(frozen=True)
class Shown:
    """What a request showed of its client."""

    form: Mapping[str, str]
    authorization: str = ""
    certificate: bytes | None = None


def proved(access: Access, shown: Shown, audiences: tuple[str, ...]) -> Proved:
    """The client; raises OAuthError `invalid_client`. `audiences`: what an assertion may be made for."""
    told = shown.form
    mark = thumbprint(shown.certificate) if shown.certificate is not None else ""
    ways = [bool(shown.authorization), bool(told.get("client_secret")), bool(told.get("client_assertion"))]
    if sum(ways) > 1:
        raise OAuthError("invalid_request", "the client proves itself in more than one way")
    if ways[0]:
        name, secret = _basic(shown.authorization)
        client = _by_secret(access, name, secret)
        method = "client_secret_basic"
    elif ways[1]:
        client = _by_secret(access, told.get("client_id", ""), told["client_secret"])
        method = "client_secret_post"
    elif ways[2]:
        client = _by_assertion(access, told, audiences)
        method = "private_key_jwt"
    else:
        client, method = _by_certificate_or_public(access, told.get("client_id", ""), mark)
    if told.get("client_id", client.id) != client.id:
        raise refused_client()
    return Proved(client, method, mark)


def _by_secret(access: Access, name: str, secret: str) -> Client:
    found = access.identities.clients.proved("secret", secret)
    if found is None or found[0].id != name or found[0].public:
        raise refused_client()
    access.identities.clients.was_used(found[0].id, found[1].id)
    return found[0]


def _by_certificate_or_public(access: Access, name: str, mark: str) -> tuple[Client, str]:
    if mark and (found := access.identities.clients.proved("certificate", mark)) and found[0].id == name:
        access.identities.clients.was_used(name, found[1].id)
        return found[0], "self_signed_tls_client_auth"
    client = access.identities.clients.get(name)
    if client is None or not client.public or not client.alive(access.identities.database.seconds()):
        raise refused_client()
    return client, "none"


def _by_assertion(access: Access, told: Mapping[str, str], audiences: tuple[str, ...]) -> Client:
    """RFC 7523 §3: issuer and subject are the client, it is meant for us, lives shortly and is good once."""
    if told.get("client_assertion_type") != ASSERTION:
        raise refused_client()
    now = access.identities.database.seconds()
    try:
        token = read(told["client_assertion"])
        name = token.claims.get("sub")
        client = access.identities.clients.get(str(name))
        if client is None or not client.alive(now) or token.claims.get("iss") != client.id or not client.jwks:
            raise BadTokenError("no such client")
        claims = verified(token, *_key(client, token))
        for_audience(claims, audiences)
        in_time(claims, now, longest=_LONGEST)
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 8 <= len(jti) <= 256:
            raise BadTokenError("there is no jti")
    except BadTokenError:
        raise refused_client() from None
    if not access.identities.tokens.first_sight(f"assertion {client.id}", jti, float(claims["exp"]) + 60):
        raise refused_client()
    access.identities.clients.was_used(client.id)
    return client


def _key(client: Client, token: Compact) -> tuple[Any, str]:
    """The client's key that the assertion names (or its only one), with the algorithm it may be used by."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    named = [key for key in client.jwks if key.get("kid", "") == token.kid] or (
        list(client.jwks) if not token.kid and len(client.jwks) == 1 else []
    )
    fits = [key for key in named if token.alg in _ALGORITHMS.get(str(key.get("kty")), ())]
    if not fits or fits[0].get("alg", token.alg) != token.alg:
        raise BadTokenError("no key of that name for that algorithm")
    try:
        return import_key(dict(fits[0])), token.alg
    except (JoseError, ValueError, TypeError) as error:
        raise BadTokenError("its key is damaged") from error


def _basic(authorization: str) -> tuple[str, str]:
    """Name and secret of HTTP Basic, each form-encoded (RFC 6749 §2.3.1)."""
    scheme, _, rest = authorization.partition(" ")
    try:
        name, colon, secret = base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise refused_client() from None
    if scheme.lower() != "basic" or not colon:
        raise refused_client()
    return unquote_plus(name), unquote_plus(secret)
