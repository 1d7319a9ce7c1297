"""Puts a connection's credentials into its calls, and renews those that expire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tongqu.kit.http.auth.authorization import basic
from tongqu.kit.http.auth.oauth2 import OAuth2Tokens
from tongqu.kit.http.auth.signature import Signer
from tongqu.kit.http.auth.token_call import CallTokens
from tongqu.kit.http.auth.tokens import Tokens
from tongqu.kit.http.auth_settings import Auth
from tongqu.kit.http.call import Call, Reply
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.request import Request

Send = Callable[[Call], Reply]


class Kind(Protocol):
    """A way to earn tokens."""

    tokens: Tokens

    def put(self, request: Request, token: str) -> Request:
        """The request with the token in it."""

    def refuses(self, reply: Reply) -> bool:
        """Whether an answer with status 200 says that the token is no longer good."""


@dataclass(frozen=True)
class Ticket:
    """What one attempt is signed with: the tokens that were good when it began."""

    sign: Callable[[Request], Request]
    tokens: Mapping[int, str]


class Credentials:
    """All of a connection's credentials; thread-safe. Tokens are asked for by `send`, with calls that carry none."""

    def __init__(self, auth: Auth | None, send: Send, clock: Clock, folder: Path | None):
        self._auth = auth
        self._kinds: list[Kind] = []
        if auth and auth.token:
            self._kinds.append(CallTokens(auth.token, send, clock))
        if auth and auth.oauth2:
            self._kinds.append(OAuth2Tokens(auth.oauth2, send, clock, folder))
        self._signer = Signer(auth.signature, clock) if auth and auth.signature else None

    @property
    def given(self) -> bool:
        """Whether the connection says at all how its calls are authenticated."""
        return self._auth is not None

    def ticket(self) -> Ticket:
        """What the next attempt is signed with; asks for tokens where none is good. Raises as calls do."""
        tokens = {number: kind.tokens.current() for number, kind in enumerate(self._kinds)}
        return Ticket(lambda request: self._signed(request, tokens), tokens)

    def renew(self, ticket: Ticket) -> bool:
        """Forget the tokens of a ticket that the system refused; whether there is anything to try again with."""
        for number, kind in enumerate(self._kinds):
            kind.tokens.forget(ticket.tokens[number])
        return bool(self._kinds)

    def refuses(self, reply: Reply) -> bool:
        """Whether an answer with status 200 says that a token is no longer good."""
        return any(kind.refuses(reply) for kind in self._kinds)

    def login(self) -> bool:
        """Ask for tokens, for `check`; whether this connection has any."""
        return bool(self.ticket().tokens)

    def _signed(self, request: Request, tokens: Mapping[int, str]) -> Request:
        auth = self._auth
        if auth and auth.api_key:
            key = auth.api_key
            value = key.prefix + key.value.get_secret_value()
            if key.in_ == "query":
                request = request.plus(query=[(key.name, value)])
            elif key.in_ == "cookie":
                cookies = "; ".join(part for part in (request.header("Cookie"), f"{key.name}={value}") if part)
                request = request.plus({"Cookie": cookies})
            else:
                request = request.plus({key.name: value})
        if auth and auth.basic:
            request = request.plus({"Authorization": basic(auth.basic.user, auth.basic.password.get_secret_value())})
        if auth and auth.bearer:
            request = request.plus({"Authorization": f"Bearer {auth.bearer.token.get_secret_value()}"})
        for number, kind in enumerate(self._kinds):
            request = kind.put(request, tokens[number])
        return self._signer.signed(request) if self._signer else request
