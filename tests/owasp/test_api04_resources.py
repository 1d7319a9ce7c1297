"""API4, unrestricted resource consumption: what is too much is refused early, and others notice nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
from itertools import cycle
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from tests.owasp.house import House

from tongqu.app.services.load_volley import Place, Shots, Volley, fire
from tongqu.gateway.attacks.heads import bodies, tokens
from tongqu.gateway.attacks.injections import injections
from tongqu.testing.services.gateway import Gateway

SECONDS = float(os.environ.get("TONGQU_ATTACK_SECONDS", "4"))
"""How long hostile requests come beside good ones; CI asks for 30."""
HOSTILE, GOOD = 1500.0, 50.0


@pytest.mark.parametrize(("name", "kind", "body"), list(bodies()), ids=lambda value: str(value)[:24])
def test_bodies_that_take_more_than_they_seem(house: House, name: str, kind: str, body: bytes) -> None:
    answer = house.ask("alpha", "/api/v1/items", "POST", body, content_type=kind)
    assert 400 <= answer.status < 500, name
    assert b"lol" not in answer.body
    assert b"root:" not in answer.body


@pytest.mark.parametrize(
    ("question", "statuses"),
    [
        ("limit=1000000", {200}), ("limit=999999999999999999999", {200, 400, 422}), ("limit=-1", {400, 422}),
        ("offset=99999999999999999999", {400, 422}), ("id=in.(" + ",".join(["1"] * 3000) + ")", {200, 414, 422}),
        ("&".join(["id=gt.0"] * 300), {400, 414, 431}), ("select=" + "id," * 2500 + "id", {400, 414, 422}),
        ("or=" + "(or" * 60 + "(id.eq.1)" + ")" * 60, {400, 422}), ("lot=eq." + "a" * 20_000, {414}),
    ],
    ids=range(9),
)  # fmt: skip
def test_questions_that_ask_for_too_much(house: House, question: str, statuses: set[int]) -> None:
    answer = house.ask("alpha", f"/api/v1/items?{question}")
    assert answer.status in statuses, answer.body[:300]


def test_a_page_is_no_longer_than_the_api_says(house: House) -> None:
    with psycopg.connect(house.shop) as connection:
        connection.execute("INSERT INTO items SELECT n, 'C', 'x' FROM generate_series(1000, 1299) n")
    try:
        assert len(house.ask("alpha", "/api/v1/items?limit=1000000").json) <= 100
        assert len(house.ask("alpha", "/api/v1/items", range="0-999999").json) <= 100
    finally:
        with psycopg.connect(house.shop) as connection:
            connection.execute("DELETE FROM items WHERE plant = 'C'")


def test_a_small_body_does_not_become_a_large_one(house: House) -> None:
    bomb = gzip.compress(b"[" + b'{"id": 1},' * 2_000_000 + b'{"id": 1}]')
    assert len(bomb) < 65_536
    answer = house.ask("alpha", "/api/v1/items", "POST", bomb, content_encoding="gzip")
    assert answer.status == 413


def test_a_body_is_not_read_when_its_length_says_enough(house: House) -> None:
    head = f"POST /api/v1/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.tokens['alpha']}\r\n"
    answer = house.raw(f"{head}Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413")


def test_graphql_that_is_deep_wide_or_many(house: House) -> None:
    deep = "{ items { nodes { " + "line { items { " * 4 + "line { title }" + " } }" * 4 + " } } }"
    wide = "{ " + " ".join(f"a{n}: items {{ nodes {{ id }} }}" for n in range(1000)) + " }"
    circle = "{ items { nodes { ...a } } } fragment a on items { line { items { ...a } } }"
    for query in (deep, wide, circle):
        answer = house.ask("alpha", "/graphql/v1", "POST", {"query": query})
        assert "errors" in answer.json or answer.status >= 400
        assert not any((answer.json.get("data") or {}).values())
    many = house.ask("alpha", "/graphql/v1", "POST", [{"query": "{ items { nodes { id } } }"}] * 1000)
    assert many.status == 400 or "errors" in json.dumps(many.json)


def test_good_calls_are_answered_while_others_attack(tmp_path: Path) -> None:
    """Bad tokens, injections, oversize and floods from one address and from ten thousand; no time is asserted."""
    import sqlite3

    database = sqlite3.connect(tmp_path / "lake.db")
    with database:
        database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, lot TEXT)")
        database.execute("INSERT INTO items VALUES (1, 'L1')")
    database.close()
    text = (
        "project: plant\nconnections:\n  lake: {type: sqlite, path: lake.db}\n"
        "apis:\n  items:\n    source: {connection: lake, dataset: items}\n    access: {public: true}\n"
        "    limit: {requests: 100000}\n"
        "gateway: {trusted_proxies: [127.0.0.1/32]}\n"
    )
    (tmp_path / "tongqu.yaml").write_text(text)
    with Gateway(tmp_path) as gateway:
        hostile, good = asyncio.run(_both(gateway.url))
        assert gateway.ask("/readyz").status == 200
    asked = sum(good.statuses.values())
    assert set(good.statuses) == {200}, (good.statuses, hostile.statuses)
    assert good.broken == 0
    assert asked >= 0.9 * (GOOD * SECONDS - good.unsent) > 0
    assert sum(hostile.statuses.values()) > 200
    assert all(400 <= status < 500 for status in hostile.statuses), hostile.statuses


async def _both(url: str) -> tuple[Shots, Shots]:
    parts = urlsplit(url)
    where = (str(parts.hostname), parts.port or 80)
    place = Place(where[0], lambda: socket.create_connection(where, 10))
    bad = cycle([token for _, token in tokens() if len(token) < 4000])
    texts = cycle([quote(one.text.encode("utf-8", "replace"), safe="") for one in injections()])

    def request(number: int) -> bytes:
        address = "203.0.113.9" if number % 2 else f"10.{number % 100}.{number // 100 % 100}.1"
        target, token = [
            (f"?lot=eq.{next(texts)}", ""), ("?limit=1", next(bad)), (f"?lot=eq.{'a' * 9000}", ""),
            ("?nothing=eq.1", "a" * 200),
        ][number // 2 % 4]  # fmt: skip
        head = f"GET /api/v1/items{target} HTTP/1.1\r\nHost: {parts.netloc}\r\nX-Forwarded-For: {address}\r\n"
        return (head + (f"Authorization: Bearer {token}\r\n" if token else "") + "\r\n").encode()

    fine = (
        f"GET /api/v1/items?id=eq.1 HTTP/1.1\r\nHost: {parts.netloc}\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n".encode()
    )
    hostile = fire(place, Volley(request, 20, SECONDS, HOSTILE))
    good = fire(place, Volley(lambda _: fine, 4, SECONDS, GOOD))
    return await asyncio.gather(hostile, good)
