"""`tongqu load` measures a published API and names what holds it back."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from tongqu.app.services.load_volley import Place, Volley, fire
from tongqu.app.services.loading import Bottleneck, Seen, bottleneck
from tongqu.testing.command_line import Done, inside
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections:
  lake: {type: sqlite, path: lake.db}
apis:
  orders: {source: {connection: lake, dataset: orders}, access: {public: true}, limit: {requests: 1000000}}
  few: {source: {connection: lake, dataset: orders}, access: {public: true}, limit: {requests: 500}}
  closed: {source: {connection: lake, dataset: orders}, access: {roles: [hr]}}
gateway: {limits: {address: null}}
"""
SEEN = Seen(1000, 0, 0, 0.0, 1000.0, client=0.3, gateway=0.5, machine=0.5, latency=0.010, probe=0.001)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("load")
    (folder / "tongqu.yaml").write_text(PROJECT)
    database = sqlite3.connect(folder / "lake.db")
    with database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, qty INT)")
        database.execute("INSERT INTO orders VALUES (1, 5), (2, 7)")
    database.close()
    return folder


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[Gateway]:
    with Gateway(folder) as running:
        yield running


def load(folder: Path, *arguments: str) -> Done:
    return inside(folder, "load", *arguments, "--seconds", "0.5", "--json")


@pytest.mark.parametrize(
    ("seen", "named"),
    [
        (SEEN, "source"),
        (replace(SEEN, refused=100), "limit"),
        (replace(SEEN, failed=100), "errors"),
        (replace(SEEN, gateway=0.97), "gateway"),
        (replace(SEEN, client=0.97), "client"),
        (replace(SEEN, machine=0.99), "machine"),
        (replace(SEEN, probe=0.009), "network"),
        (replace(SEEN, rate=1000.0), "none"),
        (replace(SEEN, rate=2000.0, gateway=-1.0, machine=-1.0, client=0.9), "client"),
    ],
)
def test_what_was_seen_names_the_bottleneck(seen: Seen, named: Bottleneck) -> None:
    assert bottleneck(seen) == named


def test_an_api_is_measured_as_fast_as_it_answers(gateway: Gateway, folder: Path) -> None:
    done = load(folder, "orders", "--query", "limit=1", "--connections", "4")
    told = done.document
    assert done.code == 0, told
    assert (told["url"], told["api"]) == (gateway.url, "/api/v1/orders?limit=1")
    assert told["good"] == told["requests"] == told["statuses"]["200"] > 4
    assert told["latency_ms"]["p50"] <= told["latency_ms"]["p99"] <= told["latency_ms"]["max"]
    assert told["cpu"]["gateway"] is not None
    assert told["bottleneck"] not in ("limit", "errors", "none")


def test_at_a_steady_pace_nothing_more_than_that_is_sent(gateway: Gateway, folder: Path) -> None:
    told = load(folder, "v1/orders", "--url", gateway.url, "--rate", "40").document
    assert told["bottleneck"] == "none"
    assert 15 <= told["requests"] <= 21


@pytest.mark.usefixtures("gateway")
def test_a_limit_is_named(folder: Path) -> None:
    done = load(folder, "few")
    assert (done.code, done.document["bottleneck"]) == (3, "limit")
    assert done.document["statuses"]["429"] == done.document["refused"]


@pytest.mark.parametrize(
    ("arguments", "code"), [(["closed"], "connector.auth"), (["nothing"], "connector.auth"), (["/x"], "not_found")]
)
@pytest.mark.usefixtures("gateway")
def test_what_cannot_be_called_is_not_loaded(folder: Path, arguments: list[str], code: str) -> None:
    done = load(folder, *arguments)
    assert done.code in (1, 2)
    assert code in done.document["problems"][0]["code"]


@pytest.mark.usefixtures("gateway")
def test_people_read_the_bottleneck_in_their_language(folder: Path) -> None:
    shown = inside(folder, "load", "orders", "--seconds", "0.2", "--rate", "20", "--lang", "zh")
    assert "没有瓶颈" in shown.out, shown.err


def test_without_a_gateway_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text("project: empty\n")
    done = load(tmp_path, "orders")
    assert (done.code, done.document["problems"][0]["path"]) == (2, "--url")


def test_connections_that_are_cut_are_counted_and_opened_again() -> None:
    """A server that closes every second connection without an answer."""

    async def measured() -> tuple[int, int]:
        numbers = count()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if next(numbers) % 2:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        place = Place("127.0.0.1", lambda: socket.create_connection(("127.0.0.1", port), 5))
        shots = await fire(place, Volley(lambda _: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 2, 0.3))
        server.close()
        await server.wait_closed()
        return shots.statuses[200], shots.broken

    good, broken = asyncio.run(measured())
    assert good > 2
    assert broken > 2
