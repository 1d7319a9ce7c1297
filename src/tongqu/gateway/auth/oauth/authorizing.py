"""What an authorization request asks for, and the ticket that ties a login form to the browser it was shown in."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from tongqu.gateway.auth.access import Access
from tongqu.gateway.auth.oauth.forms import OAuthError, wanted
from tongqu.gateway.auth.oauth.grants import narrowed
from tongqu.store.identity.clients import Client

PARAMETERS = ("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method")
TICKET_SECONDS = 600
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class UnsafeRedirectError(Exception):
    """The client or its redirect address is not known: the browser must not be sent anywhere."""


@dataclass(frozen=True)
class Wish:
    """An authorization request that may be granted. `told` are its parameters as they came."""

    client: Client
    redirect: str
    scope: tuple[str, ...]
    state: str
    challenge: str
    told: Mapping[str, str]

    @property
    def origin(self) -> str:
        """Where the browser will be sent, for the page's policy."""
        parts = urlsplit(self.redirect)
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"


def wish(access: Access, told: Mapping[str, str]) -> Wish:
    """What is asked for; raises UnsafeRedirectError, then OAuthError, whose refusal goes to the redirect address.

    The redirect address must be one of the client's, letter for letter (only the port of a loopback address is free,
    RFC 8252 §7.3). PKCE with S256 is needed by every client.
    """
    client = access.identities.clients.get(told.get("client_id", ""))
    redirect = told.get("redirect_uri", "")
    if client is None or not client.alive(access.identities.database.seconds()):
        raise UnsafeRedirectError
    if not any(_same(redirect, known) for known in client.redirects):
        raise UnsafeRedirectError
    if told.get("response_type") != "code":
        raise OAuthError("unsupported_response_type")
    if "authorization_code" not in client.grants:
        raise OAuthError("unauthorized_client")
    challenge = wanted(told, "code_challenge")
    if told.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise OAuthError("invalid_request", "PKCE with S256 is needed")
    scope = narrowed(told.get("scope", ""), client.scopes)
    kept = {name: told[name] for name in PARAMETERS if name in told}
    return Wish(client, redirect, scope, told.get("state", ""), challenge, kept)


def sent_back(redirect: str, issuer: str, told: Mapping[str, str]) -> str:
    """The redirect address with an answer; `iss` says who answers (RFC 9207)."""
    answer = urlencode({name: value for name, value in {**told, "iss": issuer}.items() if value})
    return f"{redirect}{'&' if '?' in redirect else '?'}{answer}"


def ticket(access: Access, told: Mapping[str, str], browser: str, until: int) -> str:
    """Proof that we showed this form to this browser (against forged logins); good until `until`."""
    names = "\n".join(f"{name}={told.get(name, '')}" for name in PARAMETERS)
    key = access.identities.seal.derived("login ticket")
    mark = hmac.new(key, f"{until}\n{browser}\n{names}".encode(), hashlib.sha256).hexdigest()
    return f"{until}.{mark}"


def fits(access: Access, told: Mapping[str, str], browser: str) -> bool:
    """Whether the form that came back was shown to this browser a short while ago."""
    shown = told.get("ticket", "")
    until, _, _ = shown.partition(".")
    if not browser or not re.fullmatch(r"[0-9]{1,12}", until):
        return False
    in_time = int(until) >= access.identities.database.seconds()
    return in_time and hmac.compare_digest(ticket(access, told, browser, int(until)).encode(), shown.encode())


def _same(redirect: str, known: str) -> bool:
    if redirect == known:
        return True
    try:
        one, other = urlsplit(redirect), urlsplit(known)
        port = one.port
    except ValueError:
        return False
    loopback = other.scheme == "http" and other.hostname in ("127.0.0.1", "::1") and other.port is None
    return loopback and port is not None and redirect == known.replace(other.netloc, f"{other.netloc}:{port}", 1)
