"""The handler of `/oauth` and `/.well-known`: which endpoint answers what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from tongqu.gateway.auth.access import TYP, Access
from tongqu.gateway.auth.compact import BadTokenError
from tongqu.gateway.auth.keyring import ALG
from tongqu.gateway.auth.oauth.browser import Browser
from tongqu.gateway.auth.oauth.forms import OAuthError, answer, form, once, refusal, refused_client, wanted
from tongqu.gateway.auth.oauth.grants import EXCHANGE, Grants
from tongqu.gateway.auth.oauth.proving import METHODS, Proved, Shown, proved
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.problems import Problem

_POSTS = ("/oauth/token", "/oauth/introspect", "/oauth/revoke")


class OAuthHandler:
    """Answers `/oauth/token`, `authorize`, `introspect`, `revoke`, `logout` and the documents of `/.well-known`.

    Needs no caller: clients prove themselves here. Refusals are RFC 6749's JSON, since its clients read nothing else.
    """

    def __init__(self, access: Access):
        self._access = access
        self._grants = Grants(access)
        self._browser = Browser(access)

    async def handle(self, request: Request) -> Reply:
        """The answer; raises Problem `api.unknown` and `method.refused`."""
        try:
            return await self._answered(request)
        except OAuthError as error:
            request.notes.reason = f"oauth.{error.error}"
            return refusal(error)

    async def _answered(self, request: Request) -> Reply:
        path, method = request.path, request.method
        if path in _POSTS:
            _only(method, "POST")
            told = await form(request)
            shown = Shown(told, request.headers.get("authorization", ""), request.certificate)
            return await asyncio.to_thread(self._posted, request, shown)
        if path == "/oauth/authorize":
            _only(method, "GET", "POST")
            issuer = self._issuer(request)
            if method == "POST":
                return await asyncio.to_thread(self._browser.decide, request, await form(request), issuer)
            return await asyncio.to_thread(self._browser.ask, request, once(request.pairs()), issuer)
        if path == "/oauth/logout":
            _only(method, "POST")
            return await asyncio.to_thread(self._browser.log_out, request)
        documents: Mapping[str, Callable[[], dict[str, Any]]] = {
            "/.well-known/jwks.json": self._access.keyring.jwks,
            "/.well-known/oauth-authorization-server": lambda: self._metadata(request),
        }
        if path not in documents:
            raise Problem("api.unknown")
        _only(method, "GET", "HEAD")
        reply = answer(documents[path](), keep="public, max-age=600")
        return reply if method == "GET" else Reply(reply.status, reply.headers)

    def _posted(self, request: Request, shown: Shown) -> Reply:
        path, issuer = request.path, self._issuer(request)
        who = proved(self._access, shown, self._audiences(issuer, path))
        request.notes.more["client"] = who.client.id
        request.notes.action = path
        if path == "/oauth/token":
            return answer(self._grants.token(who, shown.form))
        if path == "/oauth/introspect":
            return answer(self._introspected(who, wanted(shown.form, "token")))
        self._revoked(who, wanted(shown.form, "token"))
        return answer({})

    def _introspected(self, who: Proved, token: str) -> dict[str, Any]:
        """RFC 7662: what a token is good for now, and nothing about one that is not. A client that has no credentials
        may not ask."""
        if who.client.public:
            raise refused_client()
        if told := self._access.identities.tokens.look_at_refresh(token):
            if told["client"] != who.client.id:
                return {"active": False}
            scope = {"scope": " ".join(told["scope"])} if told["scope"] else {}
            return {"active": True, "client_id": told["client"], "sub": told["subject"], "exp": int(told["expires"]),
                    "token_type": "refresh_token", **scope}  # fmt: skip
        try:
            claims = self._access.claims(token)
        except BadTokenError:
            return {"active": False}
        names = ("iss", "aud", "sub", "client_id", "scope", "jti", "iat", "nbf", "exp", "cnf", "act")
        return {"active": True, "token_type": "Bearer", **{name: claims[name] for name in names if name in claims}}

    def _revoked(self, who: Proved, token: str) -> None:
        """RFC 7009: void from now on in this process, within a second in all. Another client's token is left alone, and
        the answer is the same."""
        tokens = self._access.identities.tokens
        if found := tokens.family_of(token):
            if found[1] == who.client.id:
                tokens.end_family(found[0])
            return
        try:
            claims = self._access.claims(token)
        except BadTokenError:
            return
        if claims["client_id"] == who.client.id:
            tokens.revoke(claims["jti"], float(claims["exp"]))

    def _issuer(self, request: Request) -> str:
        host = request.host or request.headers.get("host", "")
        return self._access.settings.issuer or f"{request.scheme}://{host}"

    def _audiences(self, issuer: str, path: str) -> tuple[str, ...]:
        """Who an assertion may be made for. Without an issuer in the settings the address is what the caller says it
        called: believed only on this machine, else an assertion made for another server could be shown here."""
        local = urlsplit(issuer).hostname in ("127.0.0.1", "::1", "localhost")
        if self._access.settings.issuer is None and not local:
            return (self._access.issuer,)
        return (self._access.issuer, issuer, f"{issuer}/oauth/token", f"{issuer}{path}")

    def _metadata(self, request: Request) -> dict[str, Any]:
        """RFC 8414."""
        issuer = self._issuer(request)
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/oauth/authorize",
            "token_endpoint": f"{issuer}/oauth/token",
            "introspection_endpoint": f"{issuer}/oauth/introspect",
            "revocation_endpoint": f"{issuer}/oauth/revoke",
            "jwks_uri": f"{issuer}/.well-known/jwks.json",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["client_credentials", "authorization_code", "refresh_token", EXCHANGE],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": list(METHODS),
            "token_endpoint_auth_signing_alg_values_supported": ["ES256", "ES384", "RS256", "PS256", "EdDSA"],
            "tls_client_certificate_bound_access_tokens": True,
            "authorization_response_iss_parameter_supported": True,
            "access_token_signing_alg_values_supported": [ALG],
            "access_token_types_supported": [TYP],
        }


def _only(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise Problem("method.refused", headers=[("allow", ", ".join(allowed))])
