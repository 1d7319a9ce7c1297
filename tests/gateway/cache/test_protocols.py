"""Answers of GraphQL and SOAP in a Redis that two replicas share: one asks the source, both hear of a change."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.gateway.cache.test_served import PROJECT, written

from tongqu.testing.command_line import inside
from tongqu.testing.services import Redis
from tongqu.testing.services.gateway import Answered, Gateway

QUERY = {"query": "{orders(orderBy: [{id: ASC}]) {nodes {id qty}}}"}
ENVELOPE = """<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>
<Query xmlns="urn:tongqu:soap:v1:orders"/></s:Body></s:Envelope>"""


def graphql(gateway: Gateway) -> Answered:
    return gateway.ask("/graphql", "POST", QUERY)


def soap(gateway: Gateway) -> Answered:
    return gateway.ask("/soap/v1/orders", "POST", ENVELOPE.encode(), [("content-type", "text/xml")])


def test_graphql_and_soap_are_kept_in_redis_and_purged_for_all(redis: Redis, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        written(folder)
        text = PROJECT.replace("path: lake.db", f"path: {one}/lake.db")
        text += "gateway: {cache: {redis: '${env:CACHE_URL}'}}\n"
        (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    environ = {"CACHE_URL": redis.database()}
    with Gateway(one, environ=environ) as first, Gateway(other, environ=environ) as second:
        for ask, old in ((graphql, b'"qty":5'), (soap, b"<qty>5</qty>")):
            assert old in ask(first).body, ask(first).body
        with sqlite3.connect(one / "lake.db") as database:  # behind everybody's back: what is kept still stands
            database.execute("UPDATE orders SET qty = 6")
        database.close()
        for ask, old in ((graphql, b'"qty":5'), (soap, b"<qty>5</qty>")):
            assert all(old in ask(gateway).body for gateway in (first, second))
        assert inside(one, "run", "daily", "--json").code == 0  # told to the home of the first
        second.until(lambda _: b'"qty":7' in graphql(second).body, "/healthz", seconds=60)
        second.until(lambda _: b"<qty>7</qty>" in soap(second).body, "/healthz", seconds=60)
        assert b'"qty":7' in graphql(first).body
        assert [gateway.stop() for gateway in (first, second)] == [0, 0], first.errors + second.errors
