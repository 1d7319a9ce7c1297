"""Files into databases."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.measure import Method, Row
from bench.scenarios.scenario import Scenario
from bench.world import World

_OWN = """
import duckdb, sys
with duckdb.connect(sys.argv[2]) as database:
    database.sql("CREATE OR REPLACE TABLE orders AS FROM read_parquet('" + sys.argv[1] + "')")
"""


def _into_postgres(world: World, path: Path) -> list[Row]:
    expect = world.counts("src", "orders")
    world.orders("dst", "csv_limit", 0)
    suffix = path.suffixes[0].removeprefix(".")
    target = f"from_{suffix}"
    link = world.folder / f"{target}{''.join(path.suffixes)}"
    if not link.exists():
        link.symlink_to(path)
    world.orders("dst", target, 0)
    return world.compare(
        Method(
            "zcat | COPY csv",
            f"zcat {world.csv} | psql -qX -d dst --single-transaction -c 'TRUNCATE csv_limit' "
            "-c 'COPY csv_limit FROM STDIN (FORMAT csv, HEADER)'",
            lambda: world.settle("dst"), lambda: world.counts("dst", "csv_limit"), expect,
        ),
        Method("tongqu sync", world.sync(f"file:{link}", world.url("dst")),
               lambda: world.settle("dst"), lambda: world.counts("dst", target), expect),
    )  # fmt: skip


def _into_duckdb(world: World) -> list[Row]:
    import duckdb

    script = world.folder / "own.py"
    script.write_text(_OWN)
    expect = world.counts("src", "orders")

    def counts(name: str) -> str:
        with duckdb.connect(world.folder / name, read_only=True) as database:
            found = database.sql("SELECT count(*), sum(id), sum(amount) FROM orders").fetchall()[0]
        return "|".join(map(str, found))

    return world.compare(
        Method("duckdb CREATE TABLE AS", f"{sys.executable} {script} {world.parquet} {world.folder / 'limit.duckdb'}",
               None, lambda: counts("limit.duckdb"), expect),
        Method("tongqu sync", world.sync(f"file:{world.parquet}", f"duckdb:{world.folder / 'ours.duckdb'}"),
               None, lambda: counts("ours.duckdb"), expect),
    )  # fmt: skip


SCENARIOS = [
    Scenario("csvgz-pg", "CSV.gz → PostgreSQL, replace of a table with its types and key",
             "zcat | psql COPY csv into a table with its key", 0.85, 0.6, lambda w: _into_postgres(w, w.csv)),
    Scenario("parquet-pg", "Parquet → PostgreSQL, replace of a table with its types and key",
             "zcat | psql COPY csv into a table with its key", 0.6, 0.4, lambda w: _into_postgres(w, w.parquet)),
    Scenario("parquet-duckdb", "Parquet → DuckDB, replace", "DuckDB's CREATE TABLE AS in a Python process",
             0.8, 0.5, _into_duckdb),
]  # fmt: skip
