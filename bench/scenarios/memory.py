"""Peak memory of our process, at the size of the other scenarios and at ten times that."""

from __future__ import annotations

from bench.measure import Method, Row
from bench.scenarios.postgres import STEPS
from bench.scenarios.scenario import Scenario
from bench.world import World

_JOIN = """\
project: bench
connections:
  src: {type: postgres, url: "SRC"}
  dst: {type: postgres, url: "DST"}
pipelines:
  joined:
    sources:
      l: {connection: src, dataset: many_orders}
      r: {connection: src, dataset: many_customers}
    steps:
      - {id: both, join: {left: l, right: r, on: id}}
      - {id: ranked, from: both, sql: "SELECT * FROM input ORDER BY customer, amount DESC, id"}
    sinks:
      table: {from: ranked, connection: dst, dataset: ranked, key: [id]}
"""
MEMORY_LIMIT_MB = 512
"""The engine's default `memory_limit` for joins and sorts."""


def _large(world: World) -> None:
    if world.sql("src", "SELECT to_regclass('many_orders') IS NOT NULL") == "t":
        return
    world.sql(
        "src",
        "CREATE TABLE many_orders (LIKE orders)",
        "INSERT INTO many_orders SELECT o.id + n * (SELECT max(id) FROM orders), order_no, customer, amount, discount, "
        "created_at, ship_date, is_paid, status, remark, attrs, qty FROM generate_series(0, 9) n, orders o",
        "ALTER TABLE many_orders ADD PRIMARY KEY (id)",
        "CREATE TABLE many_customers AS SELECT id, status AS state, left(order_no, 12) AS code FROM many_orders",
        "ALTER TABLE many_customers ADD PRIMARY KEY (id)",
        "ANALYZE",
    )


def _both(world: World, command: str) -> list[Row]:
    """`command` with TABLE at both sizes."""
    _large(world)
    methods = [
        Method(f"{rows:,} rows", command.replace("TABLE", table))
        for rows, table in ((world.rows, "orders"), (world.rows * 10, "many_orders"))
    ]
    return world.compare(*methods, rounds=1)


def _pass(world: World) -> list[Row]:
    return _both(world, world.sync(world.url("src"), world.url("dst"), "--table TABLE"))


def _project(world: World, name: str, text: str) -> str:
    folder = world.folder / name
    folder.mkdir(exist_ok=True)
    (folder / "tongqu.yaml").write_text(text.replace("SRC", world.url("src")).replace("DST", world.url("dst")))
    return f"{world.tongqu} run {'joined' if 'joined' in text else 'clean'} --project {folder} --json"


def _steps(world: World) -> list[Row]:
    _large(world)
    commands = [
        _project(world, f"steps-{table}", STEPS.replace("dataset: orders}", f"dataset: {table}}}"))
        for table in ("orders", "many_orders")
    ]
    sizes = (world.rows, world.rows * 10)
    return world.compare(*(Method(f"{n:,} rows", c) for n, c in zip(sizes, commands, strict=True)), rounds=1)


def _join(world: World) -> list[Row]:
    _large(world)
    command = _project(world, "join", _JOIN)
    return world.compare(Method(f"{world.rows * 10:,} rows joined and sorted", command), rounds=1)


SCENARIOS = [
    Scenario("memory-pass", "Peak memory, pass lane", "", 120, 150, _pass, "peak"),
    Scenario("memory-steps", "Peak memory, row-wise steps in the columnar lane", "", 400, 500, _steps, "peak"),
    Scenario("memory-join", f"Peak memory, join and sort, memory_limit {MEMORY_LIMIT_MB} MiB", "",
             MEMORY_LIMIT_MB * 1.6, MEMORY_LIMIT_MB * 2, _join, "peak"),
]  # fmt: skip
