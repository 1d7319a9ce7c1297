"""Published APIs beside a plain FastAPI application, constant bytes, and their own slower ways."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.calling import Caller, compare, free_port, python, served
from bench.measure import Row
from bench.scenarios.scenario import Scenario
from bench.world import World
from tongqu.testing.command_line import inside
from tongqu.testing.services.gateway import Gateway

SECONDS = int(os.environ.get("BENCH_CALL_SECONDS", "10"))
"""Of one round of one contender."""
PROJECT = """
project: bench
connections:
  shop: {{type: postgres, url: "{url}"}}
datasets:
  orders: {{fields: {{customer: {{class: personal, mask: name}}, remark: {{class: personal}}}}}}
apis:
  orders:
    source: {{connection: shop, dataset: orders}}
    access: {{roles: [sales], fields: {{customer: {{roles: [hr], otherwise: mask}}, remark: {{roles: [sales]}}}}}}
    limit: {{requests: 1000000000, per: minute}}
  kept:
    source: {{connection: shop, dataset: orders}}
    fields: [id, order_no, amount, discount, created_at, ship_date, is_paid, status, attrs, qty]
    access: {{roles: [sales]}}
    limit: {{requests: 1000000000, per: minute}}
    cache: {{seconds: 3600}}
  parcels:
    source: {{connection: shop, dataset: parcels}}
    access: {{roles: [sales], write_roles: [sales]}}
    limit: {{requests: 1000000000, per: minute}}
    write: {{insert: true, update: true, ingest: true}}
gateway:
  trusted_proxies: [127.0.0.1/32]
  limits: {{address: {{requests: 1000000000, burst: 1000000000}}}}
"""
"""A token is checked, one field masked, one given by role; clients and addresses are counted (their limits are out of
reach), calls audited and measured."""


@contextmanager
def gateway(world: World, project: str = PROJECT) -> Iterator[tuple[Gateway, str]]:
    """A gateway over the bench's PostgreSQL, and a token for an hour."""
    folder = world.folder / f"gateway-{free_port()}"
    folder.mkdir()
    world.sql("src", "CREATE TABLE IF NOT EXISTS parcels (id bigint PRIMARY KEY, lot text NOT NULL, qty integer)")
    (folder / "tongqu.yaml").write_text(project.format(url=world.url("src")))
    for words in (("client", "add", "bench", "--role", "sales"), ("token", "issue", "bench", "--ttl", "60m")):
        done = inside(folder, *words, "--json", **world.environment | {"TONGQU_HOME": str(folder / "home")})
        if done.code:
            raise RuntimeError(done.err + done.out)
    environment = {name: value for name, value in world.environment.items() if name != "TONGQU_HOME"}
    with Gateway(folder, environ=environment) as running:
        yield running, str(done.document["access_token"])


def pids(world: World, *servers: int) -> list[int]:
    """These processes and PostgreSQL."""
    data = Path(world.sql("postgres", "SHOW data_directory"))
    return [*servers, int((data / "postmaster.pid").read_text().split()[0])]


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {token}"}


def _page(world: World) -> list[Row]:
    """20 rows behind a random key. The peer answers the same query without any check."""
    port, most = free_port(), world.rows - 100
    command = python("uvicorn", "--factory", "bench.peers:fastapi_app", "--port", str(port), "--log-level", "warning",
                     "--no-access-log", "--loop", "uvloop", "--http", "httptools")  # fmt: skip
    log = world.folder / "fastapi.log"
    with gateway(world) as (ours, token), served(command, port, world.environment, log) as peer:
        return compare(
            world.folder,
            [
                Caller("FastAPI + asyncpg", f"http://127.0.0.1:{port}", "/orders?limit=20&after={id}",
                       pids(world, peer), most=most),
                Caller("tongqu serve", ours.url, "/api/v1/orders?id=gt.{id}&order=id&limit=20",
                       pids(world, ours.pid), bearer(token), most),
            ],
            world.rounds, SECONDS,
        )  # fmt: skip


def _row(world: World) -> list[Row]:
    """One row by its key, at random."""
    with gateway(world) as (ours, token):
        caller = Caller("tongqu serve", ours.url, "/api/v1/orders/{id}", pids(world, ours.pid), bearer(token),
                        world.rows)  # fmt: skip
        [row] = compare(world.folder, [caller], world.rounds, SECONDS)
        return [row, row]


def _hit(world: World) -> list[Row]:
    """20 rows that the cache holds; the limit gives the very same bytes without looking at anything."""
    path, port = "/api/v1/kept?order=id&limit=20", free_port()
    with gateway(world) as (ours, token):
        first = ours.ask(path, headers=[*bearer(token).items()])
        before = _hits(ours)
        if ours.ask(path, headers=[*bearer(token).items()]).body != first.body or _hits(ours) == before:
            raise RuntimeError(f"the cache does not answer: {first.status} {first.headers}")
        file = world.folder / "constant.json"
        file.write_bytes(first.body)
        command = python("granian", "--interface", "rsgi", "--workers", "1", "--port", str(port), "--no-access-log",
                         "--log-level", "warning", "bench.peers:constant")  # fmt: skip
        with served(command, port, {"CONSTANT": str(file)}, world.folder / "granian.log") as peer:
            return compare(
                world.folder,
                [
                    Caller("granian, constant bytes", f"http://127.0.0.1:{port}", "/", [peer]),
                    Caller("tongqu serve", ours.url, path, [ours.pid], bearer(token)),
                ],
                world.rounds, SECONDS,
            )  # fmt: skip


def _intake(world: World) -> list[Row]:
    """One row a request: written before the answer, and kept durably before it. All rows must arrive."""
    body = json.dumps({"id": "{id}", "lot": "L1", "qty": 3}).replace('"{id}"', "{id}")
    common: dict[str, Any] = {"most": 1, "method": "POST", "body": body}
    with gateway(world) as (ours, token):
        headers = {**bearer(token), "Content-Type": "application/json", "Prefer": "resolution=ignore-duplicates"}
        family = pids(world, ours.pid)
        rows = compare(
            world.folder,
            [
                Caller("POST /api, one row a request", ours.url, "/api/v1/parcels", family, headers, **common),
                Caller("POST /ingest, 202", ours.url, "/ingest/parcels", family, headers, **common),
            ],
            world.rounds, SECONDS,
        )  # fmt: skip
        world.sql("src", "TRUNCATE parcels")
        return rows


def _hits(ours: Gateway) -> float:
    text = ours.ask("/metrics").body.decode()
    return sum(
        float(line.split()[-1]) for line in text.splitlines() if line.startswith('tongqu_cache_total{result="hit')
    )


SCENARIOS = [
    Scenario("api-page", "20 rows as JSON with JWT, field policy, mask, limits, audit, metrics (s for 1,000 calls)",
             "FastAPI + asyncpg without any of it", 2.0, 1.6, _page),
    Scenario("api-row", "One row by its key, with all of it (requests/s)", "2,000 requests/s", 2000, 1600, _row,
             "value"),
    Scenario("api-hit", "20 rows from the cache, with the same checks (s for 1,000 calls)",
             "the same bytes, constant, from granian (RSGI)", 0.5, 0.3, _hit),
    Scenario("api-intake", "Durable intake (202) (s for 1,000 calls)", "POST of one row, written before the answer",
             4.0, 3.0, _intake),
]  # fmt: skip
