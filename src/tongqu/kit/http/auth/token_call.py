"""Tokens that a call of the system's own kind gives, and that go where the system wants them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from tongqu.core.errors import AuthError
from tongqu.kit.http.auth.signature import Signer
from tongqu.kit.http.auth.tokens import Token, Tokens
from tongqu.kit.http.auth_settings import Placed, TokenCall
from tongqu.kit.http.call import Call, Grant, Repeat, Reply
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.pool import Origin
from tongqu.kit.http.request import Request, encoded, with_fields
from tongqu.kit.http.status import said

_LONGEST = 366 * 86400.0
_SMALL = 64 * 1024
"""Only answers up to this size are looked at for codes that refuse the token."""


class CallTokens:
    """Asks for tokens as `auth: {token: …}` says; `send` makes calls."""

    def __init__(self, settings: TokenCall, send: Any, clock: Clock):
        self._settings = settings
        self._send = send
        self._signer = Signer(settings.signature, clock) if settings.signature else None
        self.tokens = Tokens(self._ask, clock)

    def put(self, request: Request, token: str) -> Request:
        """The request with the token where `put` says."""
        return placed(request, self._settings.put, {"token": token})

    def refuses(self, reply: Reply) -> bool:
        """Whether an answer has one of the codes that `refused` lists."""
        if not self._settings.refused or len(reply.content) > _SMALL:
            return False
        body = parsed(reply.content)
        return any(str(at(body, path)) in map(str, codes) for path, codes in self._settings.refused.items())

    def _ask(self) -> Token:
        settings = self._settings
        headers = _plain(settings.headers)
        body = b""
        if settings.form:
            body = encoded(list(_plain(settings.form).items())).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        elif settings.method == "POST":
            body = json.dumps(_plain(settings.body), ensure_ascii=False).encode()
            headers = {"Content-Type": "application/json", **headers}
        query = list(_plain(settings.query).items())
        if self._signer:
            parts = urlsplit(settings.url)
            origin = Origin(parts.scheme, parts.hostname or "", parts.port or 443, Grant.OPERATOR)
            asked = Request(settings.method, origin, parts.path, parts.query, tuple(query), headers, body)
            signed = self._signer.signed(asked)
            query, headers, body = list(signed.query), dict(signed.headers), signed.body
        call = Call(
            settings.method,
            settings.url,
            query,
            headers,
            body,
            repeat=Repeat.SAFE,
            grant=Grant.OPERATOR,
            anonymous=True,
        )
        return token_in(self._send(call), settings.token, settings.expires, settings.token_seconds)


def token_in(reply: Reply, path: str, expires: str, seconds: float) -> Token:
    """The token in an answer; raises AuthError with what the system says if there is none."""
    body = parsed(reply.content)
    value = at(body, path)
    if not isinstance(value, str) or not value:
        raise AuthError(
            f"{reply.url.partition('?')[0]} gave no token at {path!r}", hint=said(reply.headers, reply.content)
        )
    lasting = at(body, expires)
    with suppress(TypeError, ValueError, OverflowError):
        seconds = min(max(float(lasting), 1.0), _LONGEST)
    return Token(value, seconds)


def placed(request: Request, put: Placed, values: Mapping[str, str]) -> Request:
    """The request with headers and parameters in which `{name}` is replaced by the value of that name."""

    def filled(template: str) -> str:
        for name, value in values.items():
            template = template.replace(f"{{{name}}}", value)
        return template

    request = request.plus({name: filled(template) for name, template in put.headers.items()})
    request = request.plus(query=[(name, filled(template)) for name, template in put.query.items()])
    return with_fields(request, {name: filled(template) for name, template in put.body.items()})


def parsed(content: bytes) -> Any:
    """The JSON of an answer; None if it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def at(body: Any, path: str) -> Any:
    """The value at keys joined by dots; None if there is none."""
    for key in path.split("."):
        body = body.get(key) if isinstance(body, dict) else None
    return body


def _plain(values: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in values.items()}
