"""What `/oauth/token` gives, and for what."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from tongqu.gateway.auth.access import Access, Grant
from tongqu.gateway.auth.compact import BadTokenError
from tongqu.gateway.auth.oauth.forms import OAuthError, wanted
from tongqu.gateway.auth.oauth.proving import Proved

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  a type's name
_JWT = "urn:ietf:params:oauth:token-type:jwt"
CODE_SECONDS = 60.0
_DEEPEST = 4
"""How many may act for one another."""


class Grants:
    """Gives tokens to clients that proved themselves."""

    def __init__(self, access: Access):
        self._access = access
        self._tokens = access.identities.tokens

    def token(self, proved: Proved, form: Mapping[str, str]) -> dict[str, Any]:
        """The answer of the token endpoint; raises OAuthError."""
        kind = wanted(form, "grant_type")
        name = "token-exchange" if kind == EXCHANGE else kind
        ways = {
            "client_credentials": self._client_credentials,
            "authorization_code": self._authorization_code,
            "refresh_token": self._refresh,
            "token-exchange": self._exchange,
        }
        if name not in ways:
            raise OAuthError("unsupported_grant_type")
        if name not in proved.client.grants:
            raise OAuthError("unauthorized_client", "the client may not use this grant")
        try:
            return ways[name](proved, form)
        except BadTokenError:
            raise OAuthError("invalid_grant", "it is not good, or not any more") from None

    def _client_credentials(self, proved: Proved, form: Mapping[str, str]) -> dict[str, Any]:
        client = proved.client
        if client.public or proved.method == "none":
            raise OAuthError("unauthorized_client", "a public client has no credentials of its own")
        scope = narrowed(form.get("scope", ""), client.scopes)
        return self._given(Grant(f"client:{client.id}", client.id, scope, cnf=_bound(proved)))

    def _authorization_code(self, proved: Proved, form: Mapping[str, str]) -> dict[str, Any]:
        told = self._tokens.spend_code(wanted(form, "code"))
        client = proved.client
        if told is None or told["client"] != client.id or told["redirect"] != form.get("redirect_uri", ""):
            raise OAuthError("invalid_grant", "the code is not good, or not any more")
        verifier = wanted(form, "code_verifier")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if not 43 <= len(verifier) <= 128 or not hmac.compare_digest(challenge, told["challenge"]):
            raise OAuthError("invalid_grant", "the code verifier does not fit")
        seconds = self._access.settings.refresh_days * 86_400
        self._tokens.begin_family(told["family"], client.id, told["user"], seconds)
        grant = Grant(
            f"user:{told['user']}", client.id, tuple(told["scope"]), cnf=_bound(proved), family=told["family"]
        )
        return self._with_refresh(grant, proved, seconds)

    def _refresh(self, proved: Proved, form: Mapping[str, str]) -> dict[str, Any]:
        token, client = wanted(form, "refresh_token"), proved.client
        told = self._tokens.spend_refresh(token, client.id)
        if told is None:
            raise OAuthError("invalid_grant", "the refresh token is not good, or not any more")
        if told["gen"] != self._gen(told["subject"], client.id) or told["bound"] not in ("", proved.certificate):
            raise OAuthError("invalid_grant", "the refresh token is not good, or not any more")
        scope = narrowed(form.get("scope", ""), tuple(told["scope"]))
        grant = Grant(told["subject"], client.id, scope, cnf=_bound(proved), family=told["family"])
        return self._with_refresh(grant, proved, told["ends"] - self._access.identities.database.seconds())

    def _exchange(self, proved: Proved, form: Mapping[str, str]) -> dict[str, Any]:
        """RFC 8693: the client gets a token by which it acts for the subject of a token of ours. It can do no more than
        that token could: scope, life, line and binding are kept, and who acted before stays in `act`."""
        client = proved.client
        for name in ("subject_token_type", "requested_token_type"):
            if form.get(name, ACCESS_TOKEN) not in (ACCESS_TOKEN, _JWT):
                raise OAuthError("invalid_request", f"{name} is not understood")
        if form.get("actor_token") or form.get("actor_token_type"):
            raise OAuthError("invalid_request", "the actor is the client that asks")
        if form.get("audience", self._access.settings.audience) != self._access.settings.audience:
            raise OAuthError("invalid_target", "tokens are only given for this gateway")
        claims = self._access.claims(wanted(form, "subject_token"))
        cnf = claims.get("cnf")
        if isinstance(cnf, Mapping) and cnf.get("x5t#S256") != proved.certificate:
            raise OAuthError("invalid_request", "the subject token is bound to another certificate")
        act: dict[str, Any] = {"sub": f"client:{client.id}"}
        if isinstance(claims.get("act"), Mapping):
            act["act"] = claims["act"]
        elif claims["client_id"] != client.id and claims["sub"] != f"client:{claims['client_id']}":
            act["act"] = {"sub": f"client:{claims['client_id']}"}
        if str(act).count("'sub'") > _DEEPEST:
            raise OAuthError("invalid_request", "too many act for one another")
        had = tuple(str(claims.get("scope", "")).split())
        allowed = tuple(one for one in had if one in client.scopes) if had and client.scopes else had or client.scopes
        if had and not allowed:
            raise OAuthError("invalid_scope", "the client may have nothing of what the token may")
        scope = narrowed(form.get("scope", ""), allowed)
        left = float(claims["exp"]) - self._access.identities.database.seconds()
        grant = Grant(
            claims["sub"], client.id, scope, act, cnf or _bound(proved), str(claims.get("fam", "")), min(left, 3600.0)
        )
        return {**self._given(grant), "issued_token_type": ACCESS_TOKEN}

    def _given(self, grant: Grant) -> dict[str, Any]:
        token, seconds = self._access.token(grant)
        told = {"access_token": token, "token_type": "Bearer", "expires_in": seconds}
        return {**told, "scope": " ".join(grant.scope)} if grant.scope else told

    def _with_refresh(self, grant: Grant, proved: Proved, seconds: float) -> dict[str, Any]:
        given = self._given(grant)
        if "refresh_token" not in proved.client.grants:
            return given
        document = {
            "subject": grant.subject,
            "client": grant.client,
            "scope": list(grant.scope),
            "gen": self._gen(grant.subject, grant.client),
            "bound": proved.certificate if proved.client.public else "",
        }
        return {**given, "refresh_token": self._tokens.add_refresh(grant.family, document, seconds)}

    def _gen(self, subject: str, client: str) -> list[int]:
        user = self._access.identities.users.get(subject.removeprefix("user:"))
        found = self._access.identities.clients.get(client)
        return [user.epoch if user else -1, found.epoch if found else -1]


def narrowed(asked: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """The scope that is given: what was asked for, all that is allowed if nothing was; raises OAuthError for more."""
    told = tuple(dict.fromkeys(asked.split()))
    if allowed and not set(told) <= set(allowed):
        raise OAuthError("invalid_scope", "more than the client may have")
    return told or allowed


def _bound(proved: Proved) -> dict[str, str] | None:
    """RFC 8705 §3: a client that shows a certificate gets tokens that are good only with it."""
    return {"x5t#S256": proved.certificate} if proved.certificate else None
