"""Files into databases."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bench.measure import Method, Row
from bench.scenarios.scenario import Scenario
from bench.world import World
from tongqu.testing.services import start_sshd

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


def _from_sftp(world: World) -> list[Row]:
    import duckdb

    expect = world.counts("src", "orders")

    def counts(name: str) -> str:
        with duckdb.connect(world.folder / name, read_only=True) as database:
            found = database.sql("SELECT count(*), sum(id), sum(amount) FROM orders").fetchall()[0]
        return "|".join(map(str, found))

    with start_sshd() as server:
        shutil.copy(world.csv, server.folder_of("home") / "orders.csv.gz")
        there = f"{server.url_of('home')}/orders.csv.gz?key_file={server.key_file}&host_key={server.fingerprint}"
        here = world.folder / "orders.csv.gz"
        if not here.exists():
            here.symlink_to(world.csv)
        return world.compare(
            Method("tongqu sync, local file", world.sync(f"file:{here}", f"duckdb:{world.folder / 'near.duckdb'}"),
                   None, lambda: counts("near.duckdb"), expect),
            Method("tongqu sync, over SFTP", world.sync(there, f"duckdb:{world.folder / 'far.duckdb'}"),
                   None, lambda: counts("far.duckdb"), expect),
        )  # fmt: skip


SCENARIOS = [
    Scenario("csvgz-pg", "CSV.gz → PostgreSQL, replace of a table with its types and key",
             "zcat | psql COPY csv into a table with its key", 0.85, 0.6, lambda w: _into_postgres(w, w.csv)),
    Scenario("parquet-pg", "Parquet → PostgreSQL, replace of a table with its types and key",
             "zcat | psql COPY csv into a table with its key", 0.6, 0.4, lambda w: _into_postgres(w, w.parquet)),
    Scenario("parquet-duckdb", "Parquet → DuckDB, replace", "DuckDB's CREATE TABLE AS in a Python process",
             0.8, 0.5, _into_duckdb),
    Scenario("sftp-duckdb", "CSV.gz over SFTP → DuckDB, replace", "the same from a local file", 0.7, 0.5, _from_sftp),
]  # fmt: skip
