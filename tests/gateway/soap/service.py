"""The plant of the REST tests with SOAP and real identities, asked through the site."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lxml import etree
from tests.gateway.rest.plant import KEY, plant

from tongqu.core.policy import Actor
from tongqu.gateway.auth.assembled import Identity
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.gateway.etags import Tags
from tongqu.gateway.exchange import Request
from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.site import Route, Site, Stages
from tongqu.gateway.soap.handler import SoapHandler
from tongqu.gateway.soap.security import MessageIdentify
from tongqu.gateway.stages import Head
from tongqu.store.home import Home
from tongqu.store.identity.clients import Client
from tongqu.store.scrub import Scrubber

PROBLEM = "{urn:tongqu:problem}"


@dataclass
class Clock:
    """A time that is turned by hand."""

    at: datetime = datetime(2026, 11, 22, 8, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def later(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class Heard:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    reason: str
    who: str

    @property
    def root(self) -> Any:
        return etree.fromstring(self.body)

    @property
    def code(self) -> str:
        """Our code in a fault; empty where there is none."""
        found: str = self.root.findtext(f".//{PROBLEM}code") or ""
        return found

    @property
    def ids(self) -> list[str]:
        """The texts of all `id` elements."""
        return [one.text for one in self.root.iter("{urn:tongqu:soap:v1:items}id")]


@dataclass
class Service:
    """A site with SOAP. `actor` is who other credentials prove, nobody unless it is set."""

    site: Site
    identity: Identity
    clock: Clock
    secret: str
    actor: Actor | None = None
    seen: list[Request] | None = None

    async def call(
        self, body: str | bytes, *, to: str = "/soap/v1/items", kind: str = "text/xml; charset=utf-8", **headers: str
    ) -> Heard:
        """One message; headers are written `soap_action`."""
        sent = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", to, sent, {"content-type": kind, **named})

    async def ask(self, method: str, to: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Heard:
        path, _, query = to.partition("?")

        async def read(limit: int) -> bytes:
            if len(body) > limit:
                raise Problem("body.too_large")
            return body

        head = Head(method, path, query, headers or {}, "10.0.0.1", "10.0.0.1", "https", "plant.example")
        reply = await self.site.answer(head, read)
        assert isinstance(reply.body, bytes)
        request = self.seen[-1] if self.seen else None
        reason = request.notes.reason if request else ""
        return Heard(reply.status, dict(reply.headers), reply.body, reason, request.actor.id if request else "")

    def saw(self, request: Request, reply: Any, seconds: float) -> None:
        """As a watch."""
        self.seen = [request]


@dataclass
class _Known:
    """Identities, or the actor that a test says it is."""

    service: Service

    async def actor(self, request: Request) -> Actor:
        return self.service.actor or await self.service.identity.identify.actor(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.service.identity.identify, name)


def run(
    folder: Path,
    work: Callable[[Service], Awaitable[None]],
    *,
    actor: Actor | None = None,
    certificate: str = "",
    **settings: Any,
) -> None:
    """Do the work with a service over the plant in a new folder; the client `mes` has the role `quality`."""

    async def whole() -> None:
        clock = Clock()
        elapsed = clock.at.timestamp
        identity = Identity.open(Home(folder / "home"), Scrubber(), IdentitySettings(), clock=clock, elapsed=elapsed)
        try:
            clients = identity.identities.clients
            clients.add(Client("mes", roles=("quality",), attributes={"plant": "A"}))
            if certificate:
                clients.register_certificate("mes", certificate, None)
            secret = clients.issue("mes", "secret").secret
            async with plant(folder, **settings) as there:
                site = Site([], there.publication)
                service = Service(site, identity, clock, secret, actor)
                known: Any = _Known(service)
                handler = SoapHandler(there.reader, there.writer, known, tags=Tags(KEY))
                stages = Stages(identify=MessageIdentify(known, SizesEntry()))
                stages.watch = service
                service.site = Site([Route("/soap", handler, "rules")], there.publication, stages)
                await work(service)
        finally:
            identity.close()

    asyncio.run(whole())
