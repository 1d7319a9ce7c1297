"""A home with identities, a clock that is turned by hand, and requests as the site would make them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tongqu.core.policy import Actor
from tongqu.gateway.auth.assembled import Identity
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.publication import Publication
from tongqu.store.home import Home
from tongqu.store.identity.clients import Client
from tongqu.store.scrub import Scrubber

NOBODY = Publication("0")


@dataclass
class Clock:
    """A time that moves only when told to; `elapsed` is its monotonic face."""

    at: datetime = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def elapsed(self) -> float:
        return self.at.timestamp()

    def pass_(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def request(
    method: str = "GET", path: str = "/api/v1/inspections", query: str = "", *, body: bytes = b"", **more: Any
) -> Request:
    headers = {"host": "gateway.test", **more.pop("headers", {})}

    async def read(limit: int) -> bytes:
        assert len(body) <= limit
        return body

    told: dict[str, Any] = {"address": "192.0.2.7", "id": "r1", "trace": "0" * 32, "began": 0.0, **more}
    return Request(method, path, query, headers, body=read, publication=NOBODY, **told)


@dataclass
class Gate:
    """The part of a gateway that knows callers."""

    identity: Identity
    clock: Clock
    home: Home
    more: list[Identity] = field(default_factory=list)

    def client(self, id: str = "mes", **told: Any) -> str:
        """A client with its secret."""
        self.identity.identities.clients.add(Client(id, **{"roles": ("quality",), **told}))
        return self.identity.identities.clients.issue(id, "secret").secret

    def actor(self, *, at: Identity | None = None, **told: Any) -> Actor:
        """Who makes such a request."""
        return asyncio.run((at or self.identity).identify.actor(request(**told)))

    def bearer(self, token: str, **told: Any) -> Actor:
        """Who shows this token."""
        return self.actor(headers={"authorization": f"Bearer {token}"}, **told)

    def call(self, method: str, path: str, form: Mapping[str, str] | None = None, **told: Any) -> Reply:
        """What `/oauth` answers."""
        body = urlencode(form).encode() if form is not None else b""
        headers = {"content-type": "application/x-www-form-urlencoded", **told.pop("headers", {})}
        return asyncio.run(self.identity.oauth.handle(request(method, path, body=body, headers=headers, **told)))

    def post(self, path: str, form: Mapping[str, str], *, basic: tuple[str, str] | None = None, **told: Any) -> Any:
        """The JSON that an endpoint answers."""
        headers = told.pop("headers", {})
        if basic:
            headers = {**headers, "authorization": "Basic " + base64.b64encode(":".join(basic).encode()).decode()}
        reply = self.call("POST", path, form, headers=headers, **told)
        assert isinstance(reply.body, bytes)
        return {"status": reply.status, **json.loads(reply.body)}

    def token(self, id: str, secret: str, **form: str) -> Any:
        """What a client gets for its secret."""
        return self.post("/oauth/token", {"grant_type": "client_credentials", **form}, basic=(id, secret))

    def another(self) -> Identity:
        """The same home in another process."""
        made = Identity.open(self.home, Scrubber(), self.identity.access.settings, clock=self.clock,
                             elapsed=self.clock.elapsed)  # fmt: skip
        self.more.append(made)
        return made


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Gate]]:
    """Makes gates with settings."""
    made: list[Gate] = []

    def open_one(fetch: Any = None, **settings: Any) -> Gate:
        clock, home = Clock(), Home(tmp_path / f"home{len(made)}")
        parsed = IdentitySettings.model_validate(settings)
        more = {"fetch": fetch} if fetch else {}
        identity = Identity.open(home, Scrubber(), parsed, clock=clock, elapsed=clock.elapsed, **more)
        made.append(Gate(identity, clock, home))
        return made[-1]

    yield open_one
    for gate in made:
        for one in (gate.identity, *gate.more):
            one.close()


@pytest.fixture
def gate(opened: Callable[..., Gate]) -> Gate:
    """A gate with the default settings."""
    return opened()
