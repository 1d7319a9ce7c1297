"""Tokens by OAuth 2: client credentials, refresh tokens, passwords and signed assertions (RFC 6749, RFC 7523)."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from tongqu.core.errors import AuthError, CallRefusedError
from tongqu.kit import lasting
from tongqu.kit.http.auth import jwt
from tongqu.kit.http.auth.authorization import basic
from tongqu.kit.http.auth.token_call import at, parsed, token_in
from tongqu.kit.http.auth.tokens import Token, Tokens
from tongqu.kit.http.auth_settings import OAuth2
from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.request import Request, encoded

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class OAuth2Tokens:
    """Asks for tokens as `auth: {oauth2: …}` says. A refresh token that replaces the first one is kept in `folder`,
    readable by its owner only, since the first is worthless from then on."""

    def __init__(self, settings: OAuth2, send: Any, clock: Clock, folder: Path | None):
        self._settings = settings
        self._send = send
        self._clock = clock
        self._kept = Refreshed(folder / "oauth2.json" if folder else None, settings)
        self.tokens = Tokens(self._ask, clock)

    def put(self, request: Request, token: str) -> Request:
        """The request with the token in `Authorization` (RFC 6750)."""
        return request.plus({"Authorization": f"Bearer {token}"})

    def refuses(self, reply: Reply) -> bool:
        """Never: a refused token is a 401."""
        del reply
        return False

    def _ask(self) -> Token:
        if self._settings.grant != "refresh_token":
            return self._asked()
        with self._kept.alone():
            return self._asked()

    def _asked(self) -> Token:
        settings = self._settings
        form = [*self._grant(), *([("scope", settings.scope)] if settings.scope else []), *settings.params.items()]
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        secret = _plain(settings.client_secret)
        if settings.client_auth == "basic" and settings.client_id:
            headers["Authorization"] = basic(quote(settings.client_id, safe=""), quote(secret, safe=""))
        elif settings.client_id and settings.client_auth != "jwt":
            form.append(("client_id", settings.client_id))
            if settings.client_auth == "body":
                form.append(("client_secret", secret))
        elif settings.client_auth == "jwt":
            form += [("client_assertion_type", _ASSERTION), ("client_assertion", self._assertion(client=True))]
        body = encoded(form).encode()
        call = Call("POST", settings.token_url, (), headers, body, Repeat.SAFE, anonymous=True)
        try:
            reply = self._send(call)
        except CallRefusedError as error:
            raise AuthError(
                f"{settings.token_url.partition('?')[0]} refused a token with status {error.status}", hint=error.hint
            ) from error
        if renewed := at(parsed(reply.content), "refresh_token"):
            self._kept.keep(str(renewed))
        return token_in(reply, "access_token", "expires_in", settings.token_seconds)

    def _grant(self) -> list[tuple[str, str]]:
        settings = self._settings
        if settings.grant == "refresh_token":
            return [("grant_type", "refresh_token"), ("refresh_token", self._kept.current())]
        if settings.grant == "password":
            password = _plain(settings.password)
            return [("grant_type", "password"), ("username", settings.user), ("password", password)]
        if settings.grant == "jwt_bearer":
            return [("grant_type", _JWT_BEARER), ("assertion", self._assertion(client=False))]
        return [("grant_type", "client_credentials")]

    def _assertion(self, *, client: bool) -> str:
        settings = self._settings
        issuer = settings.client_id if client else settings.issuer or settings.client_id
        claims = {
            "iss": issuer,
            "sub": issuer if client else settings.subject or issuer,
            "aud": settings.audience or settings.token_url,
            **({} if client else settings.claims),
        }
        key = _plain(settings.key)
        return jwt.signed(claims, key, settings.algorithm, settings.key_id, now=self._clock.now())


class Refreshed:
    """The newest refresh token: a file of mode 0600, or memory without a folder."""

    def __init__(self, path: Path | None, settings: OAuth2):
        self._path = path
        self._first = _plain(settings.refresh_token)
        self._newest = ""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process uses the token meanwhile: a token that is used twice counts as stolen."""
        if self._path is None:
            yield
            return
        lasting.make_folder(self._path.parent, 0o700)
        with os.fdopen(os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def current(self) -> str:
        """The newest token; the one of the settings if none replaced it, or if the settings have got another one."""
        if self._path is None or not self._path.exists():
            return self._newest or self._first
        kept = parsed(self._path.read_bytes())
        if isinstance(kept, dict) and kept.get("of") == jwt.fingerprint(self._first):
            return str(kept.get("refresh_token") or self._first)
        return self._first

    def keep(self, token: str) -> None:
        """Replace it, so that it survives a crash from now on."""
        self._newest = token
        if self._path is None or token == self._first:
            return
        text = json.dumps({"of": jwt.fingerprint(self._first), "refresh_token": token})
        lasting.put(self._path, text.encode(), 0o600)


def _plain(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""
