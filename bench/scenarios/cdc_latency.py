"""From the commit in one PostgreSQL until the row can be seen in another, beside the server's own subscription."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import psycopg

from bench.measure import Row
from bench.scenarios.scenario import Scenario
from bench.world import World

_RATE, _SECONDS, _CLIENTS = 2_000, 8, 4
_EACH = 1_000_000_000
"""Clients count in ranges of their own, so that one look at the ends of the ranges tells all that has come."""
_PAUSE = 0.001
_DEADLINE = 120.0
_TABLE = "CREATE TABLE IF NOT EXISTS ticks (id bigint PRIMARY KEY, customer int, amount numeric(12,2), note text)"
_TICK = "INSERT INTO ticks SELECT :client_id * 1000000000::bigint + nextval('tick_' || :client_id), 7, 9.5, 'x'\n"
_ENDS = "SELECT " + ", ".join(
    f"(SELECT max(id) FROM ticks WHERE id BETWEEN {n * _EACH} AND {n * _EACH + _EACH - 1})" for n in range(_CLIENTS)
)
_COMMITS = "SELECT id, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint FROM ticks ORDER BY id"
_BUSY = "SELECT 1 FROM pg_replication_slots WHERE active"


def _connected(world: World, database: str) -> psycopg.Connection[Any]:
    return psycopg.connect(f"{world.postgres.url.rpartition('/')[0]}/{database}", autocommit=True)


def _until(world: World, active: bool) -> None:
    until = time.monotonic() + _DEADLINE
    while bool(world.sql("ticks", _BUSY)) is not active:
        if time.monotonic() > until:
            raise RuntimeError("nobody reads the slot" if active else "somebody still reads the slot")
        time.sleep(0.1)


@contextmanager
def _native(world: World) -> Iterator[str]:
    """A subscription that follows the table; where the rows arrive."""
    host, port, password = world.postgres.host, world.postgres.port, world.environment["PGPASSWORD"]
    place = f"host={host} port={port} dbname=ticks user=postgres password={password}"
    world.sql("ticks", "SELECT pg_create_logical_replication_slot('bench_ticks', 'pgoutput')")
    world.sql(
        "ticks_native",
        f"CREATE SUBSCRIPTION bench_ticks CONNECTION '{place}' PUBLICATION bench_ticks "
        "WITH (create_slot = false, slot_name = 'bench_ticks', copy_data = false)",
    )
    _until(world, active=True)
    try:
        yield "ticks_native"
    finally:
        world.sql("ticks_native", "ALTER SUBSCRIPTION bench_ticks DISABLE")
        world.sql("ticks_native", "ALTER SUBSCRIPTION bench_ticks SET (slot_name = NONE)")
        world.sql("ticks_native", "DROP SUBSCRIPTION bench_ticks")
        _until(world, active=False)
        world.sql("ticks", "SELECT pg_drop_replication_slot('bench_ticks')")


@contextmanager
def _ours(world: World) -> Iterator[str]:
    command = world.sync(world.url("ticks"), world.url("ticks_ours"), "--mode cdc --table ticks --restart")
    log = (world.folder / "commands.log").open("ab")
    process = subprocess.Popen(
        ["bash", "-c", "exec " + command], stdout=log, stderr=log, env={**os.environ, **world.environment}
    )
    try:
        _until(world, active=True)
        yield "ticks_ours"
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(_DEADLINE)
        log.close()
    if code not in (0, 130, 143):
        raise RuntimeError(f"tongqu ended with {code}; see {log.name}")
    _until(world, active=False)
    world.sql("ticks", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def _seen(connection: psycopg.Connection[Any], writer: subprocess.Popen[bytes]) -> list[tuple[float, list[int]]]:
    """Looks again and again until nothing comes any more: when (seconds), and the end of each client's range."""
    looks, ended = [(0.0, [-1] * _CLIENTS)], 0.0
    while not ended or time.monotonic() - ended < 3:
        found = connection.execute(_ENDS, prepare=True).fetchone()
        at = time.time()
        ends = [-1 if end is None else end for end in found or ()]
        if ends != looks[-1][1]:
            looks.append((at, ends))
            ended = ended and time.monotonic()
        elif not ended and writer.poll() is not None:
            ended = time.monotonic()
        time.sleep(_PAUSE)
    return looks


def _latencies(world: World, way: Any) -> Any:
    """The milliseconds of all rows of one run, in the order of their keys."""
    world.sql("ticks", "TRUNCATE ticks", *(f"ALTER SEQUENCE tick_{n} RESTART" for n in range(_CLIENTS)))
    for database in ("ticks_native", "ticks_ours"):
        world.sql(database, "TRUNCATE ticks")
    world.settle("ticks", "ticks_native", "ticks_ours")
    script = world.folder / "tick.sql"
    script.write_text(_TICK, encoding="utf-8")
    pgbench = [
        str(world.postgres.binaries / "pgbench"), "-n", "-M", "prepared", "-c", str(_CLIENTS), "-R", str(_RATE), "-T",
        str(_SECONDS), "-f", str(script), "ticks",
    ]  # fmt: skip
    with way(world) as target, _connected(world, target) as connection:
        writer = subprocess.Popen(pgbench, stdout=subprocess.DEVNULL, env={**os.environ, **world.environment})
        looks = _seen(connection, writer)
        if writer.wait():
            raise RuntimeError(f"pgbench ended with {writer.returncode}")
        missing = world.sql("ticks", "SELECT count(*) FROM ticks") != world.sql(target, "SELECT count(*) FROM ticks")
    if missing:
        raise RuntimeError(f"rows are missing in {target}")
    with _connected(world, "ticks") as connection:
        commits = np.array(connection.execute(_COMMITS).fetchall(), dtype=np.int64)
    times = np.array([at for at, _ in looks])
    found = []
    for client in range(_CLIENTS):
        ends = np.array([ends[client] for _, ends in looks])
        mine = commits[commits[:, 0] // _EACH == client]
        found.append((times[np.searchsorted(ends, mine[:, 0])] - mine[:, 1] / 1e6) * 1e3)
    return np.concatenate(found)


@cache
def _measured(world: World) -> tuple[list[Any], list[Any]]:
    """The latencies of each round: the subscription's and ours."""
    for name in ("ticks", "ticks_native", "ticks_ours"):
        world.postgres.database(name)
        world.sql(name, _TABLE)
    world.sql("ticks", "CREATE PUBLICATION bench_ticks FOR TABLE ticks")
    world.sql("ticks", *(f"CREATE SEQUENCE tick_{n} CACHE 100" for n in range(_CLIENTS)))
    native, ours = [], []
    for _ in range(world.rounds):
        native.append(_latencies(world, _native))
        ours.append(_latencies(world, _ours))
    return native, ours


def _percentile(world: World, percent: int) -> list[Row]:
    native, ours = _measured(world)
    rows = []
    for name, runs in (("CREATE SUBSCRIPTION", native), ("tongqu sync --mode cdc", ours)):
        values = [float(np.percentile(run, percent)) for run in runs]
        base = [float(np.percentile(run, percent)) for run in native]
        ratio = statistics.median(limit / own for limit, own in zip(base, values, strict=True))
        shown = [statistics.median(float(np.percentile(run, p)) for run in runs) for p in (50, 99, 100)]
        told = "p50 {:.1f} ms, p99 {:.1f} ms, longest {:.1f} ms".format(*shown)
        told += f", {statistics.median(len(run) for run in runs) / _SECONDS:,.0f} transactions/s"
        middle = statistics.median(values)
        rows.append(
            Row(name, middle / 1e3, min(values) / 1e3, max(values) / 1e3, ratio, 0.0, 0.0, 0.0, 0.0, middle, told)
        )
    return rows


SCENARIOS = [
    Scenario("pg-cdc-p50", f"PostgreSQL → PostgreSQL, commit to visible at {_RATE:,} single-row transactions/s, p50",
             "CREATE SUBSCRIPTION", 1 / 2.5, 1 / 5, lambda world: _percentile(world, 50)),
    Scenario("pg-cdc-p99", f"PostgreSQL → PostgreSQL, commit to visible at {_RATE:,} single-row transactions/s, p99",
             "CREATE SUBSCRIPTION", 1 / 3, 1 / 6, lambda world: _percentile(world, 99)),
]  # fmt: skip
