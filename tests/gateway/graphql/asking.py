"""GraphQL asked of the small plant of REST's tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.gateway.rest.plant import QUALITY, Plant, Told, asked

from tongqu.core.policy import Actor
from tongqu.core.server import Format, Limits, Page, Query
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.graphql.handler import GraphqlHandler
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.settings import GatewayEntry, GraphqlEntry
from tongqu.gateway.stages import Pass, Ticket


@dataclass
class Graphql:
    """The plant's GraphQL: `call` sends a document, `send` any request. `shared` are the APIs that limits were asked
    for, `seen` the notes of queries beside the first."""

    there: Plant
    bounds: GraphqlEntry = field(default_factory=GraphqlEntry)
    shared: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)
    costs: list[tuple[str, int, bool]] = field(default_factory=list)
    seen: list[Request] = field(default_factory=list)
    tick: float = 0.0

    def __post_init__(self) -> None:
        async def share(request: Request, api: Api, texts: Any, cost: int, first: bool) -> Ticket:
            self.shared.append((api.name, list(texts)))
            self.costs.append((api.name, cost, first))
            return Pass()

        def tell(request: Request, reply: Reply, seconds: float) -> None:
            self.seen.append(request)

        self.handler = GraphqlHandler(
            self.there.reader, self.there.writer, GatewayEntry(graphql=self.bounds), share=share, tell=tell,
            clock=lambda: self.tick,
        )  # fmt: skip

    async def call(self, query: str, actor: Actor = QUALITY, **variables: Any) -> Any:
        """The whole answer to a document."""
        return (await self.send({"query": query, "variables": variables}, actor=actor)).json

    async def data(self, query: str, actor: Actor = QUALITY, **variables: Any) -> Any:
        """The data of a document that holds no error."""
        told = await self.call(query, actor, **variables)
        assert "errors" not in told, told
        return told["data"]

    async def code(self, query: str, actor: Actor = QUALITY, **variables: Any) -> str:
        """The code of the first error."""
        told: str = (await self.call(query, actor, **variables))["errors"][0]["extensions"]["code"]
        return told

    async def send(
        self, body: Any, *, actor: Actor = QUALITY, method: str = "POST", path: str = "/graphql/v1",
        query: Mapping[str, str] | None = None, **headers: str,
    ) -> Told:  # fmt: skip
        """One request, answered as the site would."""
        text = body if isinstance(body, str) else json.dumps(body)
        given = {"content_type": "application/json", **headers}
        request = asked(self.there.publication, method, "", text, actor=actor, headers=given)
        request.path, request.query = path, urlencode(query or {})
        try:
            reply = await self.handler.handle(request)
        except Problem as problem:
            reply = self.handler.refusal(problem, request)
        return Told(request, reply)


def code_of(told: Told) -> str:
    """The code of an answer's first error."""
    found: str = told.json["errors"][0]["extensions"]["code"]
    return found


class Counting:
    """Counts the queries of a server."""

    def __init__(self, there: Plant, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        ask = there.server.query

        async def query(query: Query, format: Format, limits: Limits) -> Page:
            self.asked.append(query.tree.sql())
            return await ask(query, format, limits)

        patch.setattr(there.server, "query", query)
