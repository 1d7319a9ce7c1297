"""Hours of many systems: rows that keep coming over 30 connections, and 12 systems' orders in one table; reconciled.

How long and how much is asked for by BENCH_VOLUME_SECONDS (default 3600), BENCH_VOLUME_RATE (3500 rows/s, all together)
and BENCH_VOLUME_ORDERS (1,000,000 of each of the 12).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread

from bench.measure import Row, cpu_seconds
from bench.scenarios.scenario import Scenario
from bench.world import World

_SECONDS = float(os.environ.get("BENCH_VOLUME_SECONDS", "3600"))
_RATE = int(os.environ.get("BENCH_VOLUME_RATE", "3500"))
_ORDERS = int(os.environ.get("BENCH_VOLUME_ORDERS", "1000000"))
_SYSTEMS, _PLANTS = 30, 12
_EACH = 1.0
"""Seconds between two transactions of one system."""
_TABLE = (
    "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text, qty int, "
    "price numeric(12,2), at timestamptz)"
)
_INSERT = (
    "INSERT INTO orders (item, qty, price, at) "
    "SELECT 'item ' || n, n % 97, n * 1.25, now() FROM generate_series(1, {}) n"
)


def _systems(world: World, names: Sequence[str]) -> None:
    for name in names:
        world.postgres.database(name)
        world.sql(name, _TABLE)


def _project(world: World, folder: Path, names: Sequence[str], pipeline: Callable[[str], str]) -> None:
    folder.mkdir(exist_ok=True)
    connections = [f'  {name}: {{type: postgres, url: "{world.url(name)}", wait_seconds: 0}}' for name in names]
    lines = ["project: volume", "connections:", *connections, f'  lake: {{type: postgres, url: "{world.url("lake")}"}}']
    lines += ["pipelines:", *(pipeline(name) for name in names)]
    (folder / "tongqu.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _run(world: World, folder: Path, names: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one command that runs all pipelines."""
    began, before = time.monotonic(), os.times()
    with (world.folder / "commands.log").open("ab") as log:
        command = f"cd {folder} && {world.tongqu} run {' '.join(names)} --json"
        environment = {**os.environ, **world.environment, "TONGQU_HOME": str(folder / "home")}
        done = subprocess.run(["bash", "-c", command], stdout=log, stderr=log, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"tongqu run ended with {done.returncode}; see {log.name}")
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, spent


def _write(world: World, names: Sequence[str], stop: Event, failed: list[str]) -> None:
    import psycopg

    each = max(1, round(_RATE * _EACH / len(names)))
    server = world.postgres
    connections = [
        psycopg.connect(host=server.host, port=server.port, user="postgres", dbname=name, autocommit=True,
                        password=world.environment["PGPASSWORD"])
        for name in names
    ]  # fmt: skip
    try:
        due = time.monotonic()
        while not stop.is_set():
            for connection in connections:
                connection.execute(_INSERT.format(each))
            due += _EACH
            stop.wait(max(0.0, due - time.monotonic()))
    except psycopg.Error as error:
        failed.append(str(error))
    finally:
        for connection in connections:
            connection.close()


def _sums(world: World, database: str, table: str, where: str = "") -> str:
    return world.sql(database, f"SELECT count(*), coalesce(sum(id), 0), coalesce(sum(price), 0) FROM {table} {where}")


def _stream(world: World) -> list[Row]:
    """Rows keep coming into 30 systems; their pipelines run again and again until the time is over."""
    names = [f"system_{n}" for n in range(_SYSTEMS)]
    _systems(world, names)
    world.postgres.database("lake")
    folder = world.folder / "volume"
    _project(world, folder, names, lambda name: (
        f"  {name}: {{source: {{connection: {name}, dataset: orders, mode: incremental, cursor: id}}, "
        f"sink: {{connection: lake, dataset: {name}, write: append}}}}"
    ))  # fmt: skip
    stop, failed = Event(), list[str]()
    writer = Thread(target=_write, args=(world, names, stop, failed))
    servers = cpu_seconds(world._servers())
    writer.start()
    began, rounds, ours = time.monotonic(), list[float](), 0.0
    try:
        while time.monotonic() - began < _SECONDS:
            took, spent = _run(world, folder, names)
            rounds.append(took)
            ours += spent
    finally:
        stop.set()
        writer.join()
    wrote = time.monotonic() - began
    took, spent = _run(world, folder, names)
    whole = time.monotonic() - began
    if failed:
        raise RuntimeError(failed[0])
    for name in names:
        if _sums(world, name, "orders") != _sums(world, "lake", name):
            raise RuntimeError(f"{name} differs")
    rows = sum(int(_sums(world, name, "orders").split("|")[0]) for name in names)
    per_core = rows / (ours + spent)
    told = (
        f"{rows:,} rows over {_SYSTEMS} connections, written in {wrote:.0f} s = {rows / wrote:,.0f} rows/s, every "
        f"table equal {whole - wrote:.0f} s later; longest round {max(rounds):.1f} s; "
        f"{per_core:,.0f} rows per CPU second of ours"
    )
    servers = cpu_seconds(world._servers()) - servers
    return [Row("tongqu run, 30 pipelines", whole, whole, whole, 1.0, 0.0, ours + spent + servers, 0.0, 0.0,
                rows / wrote, told)] * 2  # fmt: skip


def _plants(world: World) -> list[Row]:
    """The orders of 12 systems in one table, by key."""
    names = [f"plant_{n}" for n in range(_PLANTS)]
    _systems(world, names)
    if not world.sql("postgres", "SELECT 1 FROM pg_database WHERE datname = 'lake'"):
        world.postgres.database("lake")
    for name in names:
        world.sql(name, _INSERT.format(_ORDERS), "ANALYZE orders")
    folder = world.folder / "plants"
    _project(world, folder, names, lambda name: (
        f"  {name}: {{source: {{connection: {name}, dataset: orders}}, steps: [{{derive: {{plant: \"'{name}'\"}}}}], "
        "sink: {connection: lake, dataset: all_orders, write: upsert, key: [plant, id]}}"
    ))  # fmt: skip
    took, spent = _run(world, folder, names)
    for name in names:
        if _sums(world, name, "orders") != _sums(world, "lake", "all_orders", f"WHERE plant = '{name}'"):
            raise RuntimeError(f"{name} differs")
    rows = _ORDERS * _PLANTS
    told = (
        f"{rows:,} orders of {_PLANTS} systems in one table in {took:.0f} s = {rows / took:,.0f} rows/s, every system "
        f"equal; {rows / spent:,.0f} rows per CPU second of ours"
    )
    return [Row("tongqu run, 12 pipelines", took, took, took, 1.0, 0.0, spent, 0.0, 0.0, rows / took, told)] * 2


SCENARIOS = [
    Scenario("volume", f"30 connections at {_RATE:,} rows/s for {_SECONDS:.0f} s", "none", _RATE * 0.95, _RATE * 0.8,
             _stream, "value"),
    Scenario("volume-orders", f"12 systems × {_ORDERS:,} orders into one table", "none", _RATE, _RATE * 0.8, _plants,
             "value"),
]  # fmt: skip
