"""A whole database of many small tables."""

from __future__ import annotations

from bench.measure import Method, Row
from bench.scenarios.scenario import Scenario
from bench.world import World

TABLES = 300
_MAKE = """
DO $$ BEGIN
  FOR n IN 1..{tables} LOOP
    EXECUTE format('CREATE TABLE t%s (id bigint PRIMARY KEY, parent bigint %s, name text NOT NULL, at timestamptz)', n,
      CASE WHEN n > 1 THEN format('REFERENCES t%s (id)', n - 1) END);
    EXECUTE format('CREATE INDEX ON t%s (name)', n);
    EXECUTE format('INSERT INTO t%s SELECT g, g, %L || g, now() FROM generate_series(1, 100) g', n, 'row ');
  END LOOP;
END $$
"""


def _whole(world: World) -> list[Row]:
    server = world.postgres
    server.database("many")
    world.sql("many", _MAKE.format(tables=TABLES))
    world.settle("many")

    def fresh(name: str) -> None:
        server.drop(name)
        server.database(name)
        world.sql("postgres", "CHECKPOINT")

    def check(name: str) -> str:
        return world.sql(
            name,
            "SELECT (SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$'), (SELECT count(*) FROM pg_constraint "
            "WHERE contype = 'f'), (SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
            f"WHERE c.relname ~ '^t[0-9]+$'), (SELECT count(*) FROM t1), (SELECT sum(id) FROM t{TABLES})",
        )

    expect = check("many")
    dump = server.binaries / "pg_dump"
    return world.compare(
        Method("pg_dump | psql", f"{dump} -d many | psql -qX -d copied_limit -v ON_ERROR_STOP=1 > /dev/null",
               lambda: fresh("copied_limit"), lambda: check("copied_limit"), expect),
        Method("tongqu sync", world.sync(world.url("many"), world.url("copied")),
               lambda: fresh("copied"), lambda: check("copied"), expect),
    )  # fmt: skip


SCENARIOS = [
    Scenario("whole", f"PostgreSQL → PostgreSQL, whole database of {TABLES} tables of 100 rows with keys, indexes and "
             "foreign keys", "pg_dump | psql", 3.0, 6.0, _whole, "extra"),
]  # fmt: skip
