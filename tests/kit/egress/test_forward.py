"""A loopback port for drivers that open their own sockets: it leads through the hops and is for this process only."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import time

import psycopg
import pytest

from tongqu.core.errors import ConnectError
from tongqu.kit.egress.dial import Egress, Route
from tongqu.kit.egress.own_ports import own_ports
from tongqu.kit.egress.pinned_loop import PinnedLoop
from tongqu.testing.services.forward_proxies import ForwardProxy
from tongqu.testing.services.process import free_port, port_is_free
from tongqu.testing.ways import spoken, through


def test_a_driver_connects_to_the_route_and_names_the_host(pg_url: str) -> None:
    port = int(pg_url.rpartition(":")[2].partition("/")[0])
    with ForwardProxy(names={"db.plant": "127.0.0.1"}) as proxy:
        route = through({"proxy": proxy.url}).route("db.plant", port)
        with psycopg.connect(pg_url, host="db.plant", hostaddr=route.addresses[0], port=route.port) as session:
            assert session.execute("select 1").fetchall() == [(1,)]
        assert proxy.asked == [f"db.plant:{port}"]


def test_without_hops_a_route_is_the_checked_addresses() -> None:
    way = Egress(resolver=lambda host, port: ["10.2.0.5", "10.2.0.6"])
    assert way.route("db.plant", 5432) == Route(("10.2.0.5", "10.2.0.6"), 5432)


def test_another_process_is_turned_away(echo: int) -> None:
    with ForwardProxy() as proxy:
        route = through({"proxy": proxy.url}).route("127.0.0.1", echo)
        code = (
            f"import socket\ns = socket.create_connection(('127.0.0.1', {route.port}))\n"
            "try:\n    print(s.recv(5))\nexcept ConnectionResetError:\n    print('reset')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() in ("reset", "b''")
        opened = socket.create_connection((route.addresses[0], route.port))
        assert spoken(opened) == b"hello there"


def test_it_closes_itself_after_its_last_connection(echo: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tongqu.kit.egress.forward._LAST_SECONDS", 0.1)
    with ForwardProxy() as proxy:
        route = through({"proxy": proxy.url}).route("127.0.0.1", echo)
        assert route.port in own_ports()
        assert spoken(socket.create_connection((route.addresses[0], route.port))) == b"hello there"
        deadline = time.monotonic() + 5
        while route.port in own_ports() and time.monotonic() < deadline:
            port_is_free(route.port)
        assert route.port not in own_ports()
        assert port_is_free(route.port)


def test_a_way_that_is_closed_is_told_at_once() -> None:
    with ForwardProxy() as proxy, pytest.raises(ConnectError, match=r"hop 1 proxy:127\.0\.0\.1 gives no connection"):
        through({"proxy": proxy.url}).route("127.0.0.1", free_port())


def test_a_loop_follows_a_route(echo: int) -> None:
    async def talk() -> bytes:
        reader, writer = await asyncio.open_connection("db.plant", 5432)
        said = await reader.readexactly(5)
        writer.close()
        return said

    with asyncio.Runner(loop_factory=lambda: PinnedLoop(lambda: Route(("127.0.0.2", "127.0.0.1"), echo))) as runner:
        assert runner.run(talk()) == b"hello"


def test_a_half_closed_connection_survives_the_garbage_collector(echo: int) -> None:
    with ForwardProxy() as proxy:
        route = through({"proxy": proxy.url}).route("127.0.0.1", echo)
        with socket.create_connection((route.addresses[0], route.port)) as opened:
            opened.shutdown(socket.SHUT_WR)
            gc.collect()
            assert b"".join(iter(lambda: opened.recv(100), b"")) == b"hello "
