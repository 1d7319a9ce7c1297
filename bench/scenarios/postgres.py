"""PostgreSQL to PostgreSQL: the whole table as it is, through steps, and changed rows by key."""

from __future__ import annotations

from bench.measure import Method, Row
from bench.scenarios.scenario import Scenario
from bench.world import World

COPY = (
    "psql -qX -d src -c 'COPY orders TO STDOUT (FORMAT binary)' | psql -qX -d dst --single-transaction "
    "-c 'TRUNCATE orders_limit' -c 'COPY orders_limit FROM STDIN (FORMAT binary)'"
)
STEPS = """\
project: bench
connections:
  src: {type: postgres, url: "SRC"}
  dst: {type: postgres, url: "DST"}
pipelines:
  clean:
    source: {connection: src, dataset: orders}
    steps:
      - filter: "qty < 50"
      - derive: {net: "amount - coalesce(discount, 0)", big: "amount > 500000"}
      - cast: {qty: int64}
      - check:
          order_no: {required: true, pattern: "SO[0-9]+-[0-9]+"}
          amount: {min: 0}
          status: {enum: [created, paid, shipped, delivered, cancelled]}
    sink: {connection: dst, dataset: orders_clean}
"""
_COLUMNS = (
    "order_no", "customer", "amount", "discount", "created_at", "ship_date",
    "is_paid", "status", "remark", "attrs", "qty",
)  # fmt: skip


def _replace(world: World) -> list[Row]:
    world.empty_like("dst", "orders_limit")
    expect = world.counts("src", "orders")
    return world.compare(
        Method("COPY binary | COPY binary", COPY, lambda: world.settle("dst"),
               lambda: world.counts("dst", "orders_limit"), expect),
        Method("tongqu sync", world.sync(world.url("src"), world.url("dst"), "--table orders"),
               lambda: world.settle("dst"), lambda: world.counts("dst", "orders"), expect),
    )  # fmt: skip


def _steps(world: World) -> list[Row]:
    world.empty_like("dst", "orders_limit")
    project = world.folder / "steps"
    project.mkdir(exist_ok=True)
    (project / "tongqu.yaml").write_text(STEPS.replace("SRC", world.url("src")).replace("DST", world.url("dst")))
    expect = world.sql(
        "src", "SELECT count(*), sum(id), sum(amount - coalesce(discount, 0)) FROM orders WHERE qty < 50"
    )
    got = "SELECT count(*), sum(id), sum(net) FROM orders_clean"
    return world.compare(
        Method("COPY binary | COPY binary (no steps)", COPY, lambda: world.settle("dst")),
        Method("tongqu run: filter, derive, cast, check", f"{world.tongqu} run clean --project {project} --json",
               lambda: world.settle("dst"), lambda: world.sql("dst", got), expect),
    )  # fmt: skip


def _upsert(world: World) -> list[Row]:
    for name in ("delta", "kept"):
        world.postgres.database(name)
    changed = "id % 10 = 0"
    for database, table in (("kept", "orders"), ("kept", "orders_limit")):
        world.orders(database, table, world.rows)
    world.orders("delta", "orders", world.rows)
    world.sql("delta", f"DELETE FROM orders WHERE NOT {changed}")
    sets = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)

    def change() -> None:
        world.sql("delta", "UPDATE orders SET amount = amount + 1, remark = 'changed ' || id")
        world.settle("delta", "kept")

    def check(table: str) -> str:
        left = world.sql("kept", f"SELECT count(*), sum(id), sum(amount) FROM {table} WHERE {changed}")
        return f"{left == world.counts('delta', 'orders')} {world.sql('kept', f'SELECT count(*) FROM {table}')}"

    expect = f"True {world.rows}"
    return world.compare(
        Method(
            "COPY to temp + ON CONFLICT",
            "psql -qX -d delta -c 'COPY orders TO STDOUT (FORMAT binary)' | psql -qX -d kept --single-transaction "
            "-c 'CREATE TEMP TABLE stage (LIKE orders_limit)' -c 'COPY stage FROM STDIN (FORMAT binary)' "
            f"-c 'INSERT INTO orders_limit SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET {sets}'",
            change, lambda: check("orders_limit"), expect,
        ),
        Method("tongqu sync --write upsert",
               world.sync(world.url("delta"), world.url("kept"), "--table orders --write upsert"),
               change, lambda: check("orders"), expect),
    )  # fmt: skip


SCENARIOS = [
    Scenario("pg-pg", "PostgreSQL → PostgreSQL, replace, pass lane",
             "psql COPY binary | psql COPY binary into a table with its key", 1.0, 0.85, _replace),
    Scenario("pg-pg-steps", "PostgreSQL → PostgreSQL, filter + derive + cast + check, columnar lane",
             "the same pipe, without the steps", 0.5, 0.4, _steps),
    Scenario("pg-upsert", "PostgreSQL → PostgreSQL, upsert of 10 % changed rows",
             "psql COPY to a temporary table + INSERT … ON CONFLICT", 0.8, 0.6, _upsert),
]  # fmt: skip
