"""PostgreSQL to PostgreSQL by its change log: a backlog is caught up with, against the server's own subscription."""

from __future__ import annotations

from functools import partial

from bench.measure import Method, Row
from bench.scenarios.scenario import Scenario
from bench.world import World

_TABLE = (
    "CREATE TABLE IF NOT EXISTS changes (id bigint PRIMARY KEY, customer int NOT NULL, status text NOT NULL, "
    "amount numeric(12,2), at timestamptz, note text)"
)
_ROW = "SELECT n, n % 9973, 'paid', n * 1.25, now(), repeat('x', 60) FROM generate_series"
_PUBLICATION, _SUBSCRIPTION, _SLOT = "bench_changes", "bench_changes", "bench_changes"
_WAIT = "until [ \"$(psql -qAtX -d native -c 'SELECT count(*) FROM changes')\" = ROWS ]; do sleep 0.05; done"


def _fill(world: World, rows: int, each: int) -> None:
    """Write the backlog: `rows` rows in transactions of `each`."""
    world.sql(
        "cdc",
        f"DO $$ BEGIN SET LOCAL synchronous_commit = off; FOR i IN 0..{rows // each - 1} LOOP "
        f"INSERT INTO changes {_ROW}(i * {each} + 1, (i + 1) * {each}) n; COMMIT; "
        "SET LOCAL synchronous_commit = off; END LOOP; END $$",
    )


def _empty(world: World) -> None:
    world.sql("cdc", "TRUNCATE changes")
    world.settle("cdc", "native", "dst")


def _native(world: World, rows: int, each: int) -> None:
    """A subscription that was switched off before the backlog was written."""
    _end(world)
    world.sql("native", "TRUNCATE changes")
    _empty(world)
    world.sql("cdc", f"SELECT pg_create_logical_replication_slot('{_SLOT}', 'pgoutput')")
    host, port = world.postgres.host, world.postgres.port
    place = f"host={host} port={port} dbname=cdc user=postgres password={world.environment['PGPASSWORD']}"
    world.sql(
        "native",
        f"CREATE SUBSCRIPTION {_SUBSCRIPTION} CONNECTION '{place}' PUBLICATION {_PUBLICATION} "
        f"WITH (create_slot = false, slot_name = '{_SLOT}', copy_data = false, enabled = false)",
    )
    _fill(world, rows, each)


def _end(world: World) -> None:
    """Take the subscription away, so that it does not work beside the other method."""
    if world.sql("native", f"SELECT 1 FROM pg_subscription WHERE subname = '{_SUBSCRIPTION}'"):
        world.sql(
            "native",
            f"ALTER SUBSCRIPTION {_SUBSCRIPTION} DISABLE",
            f"ALTER SUBSCRIPTION {_SUBSCRIPTION} SET (slot_name = NONE)",
            f"DROP SUBSCRIPTION {_SUBSCRIPTION}",
        )
    busy = f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{_SLOT}' AND active"
    world.shell(f'until [ -z "$(psql -qAtX -d cdc -c "{busy}")" ]; do sleep 0.1; done')
    world.sql(
        "cdc", f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{_SLOT}'"
    )


def _catch_up(world: World, rows: int, each: int) -> list[Row]:
    for name in ("cdc", "native"):
        world.sql("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        world.postgres.database(name)
        world.sql(name, _TABLE)
    world.sql(
        "cdc", f"DROP PUBLICATION IF EXISTS {_PUBLICATION}", f"CREATE PUBLICATION {_PUBLICATION} FOR TABLE changes"
    )
    sync = world.sync(world.url("cdc"), world.url("dst"), "--mode cdc --until-caught-up --table changes")

    def ours() -> None:
        _end(world)
        _empty(world)
        world.shell(sync + " --restart")
        _fill(world, rows, each)

    def counted(database: str) -> str:
        return world.sql(database, "SELECT count(*), sum(id), sum(amount) FROM changes")

    expect = f"{rows}|{rows * (rows + 1) // 2}|"
    expect += world.sql("cdc", f"SELECT sum(n * 1.25)::numeric(20,2) FROM generate_series(1, {rows}) n")
    enabled = f"psql -qX -d native -c 'ALTER SUBSCRIPTION {_SUBSCRIPTION} ENABLE' && {_WAIT.replace('ROWS', str(rows))}"
    found = world.compare(
        Method("CREATE SUBSCRIPTION, applied",
               enabled,
               partial(_native, world, rows, each), lambda: counted("native"), expect),
        Method("tongqu sync --mode cdc, applied", sync, ours, lambda: counted("dst"), expect),
    )  # fmt: skip
    _end(world)
    return found


SCENARIOS = [
    Scenario("pg-cdc", "PostgreSQL → PostgreSQL, a backlog of changes in transactions of 1,000",
             "CREATE SUBSCRIPTION of the same backlog", 0.8, 0.6, lambda world: _catch_up(world, world.rows, 1000)),
    Scenario("pg-cdc-single", "PostgreSQL → PostgreSQL, a backlog of single-row transactions",
             "CREATE SUBSCRIPTION of the same backlog", 0.8, 0.6, lambda world: _catch_up(world, world.rows // 4, 1)),
]  # fmt: skip
