"""Comparing and profiling: the whole table once, beside one checksum query and DuckDB's own SUMMARIZE."""

from __future__ import annotations

import json
import os
import sys

from bench.measure import Method, Row
from bench.scenarios.mariadb import fill
from bench.scenarios.scenario import Scenario
from bench.world import World

_CHECKSUM = """
import os, sys
from pathlib import Path
from tongqu.app.wire import Wire
from tongqu.catalog.agreement import Wish, agree
from tongqu.core.compare import Span
wire = Wire(Path(sys.argv[1]), "", lambda *_, **__: None)
sources = [wire.ends.end(url).source() for url in sys.argv[2:4]]
left, right = (source.datasets([name])[0] for source, name in zip(sources, ("orders", "diff_orders")))
agreed = agree(left, right, Wish())
side = int(sys.argv[4])
comparable = sources[side].comparing((left, right)[side], (agreed.left, agreed.right)[side])
print(comparable.sums([Span()]))
"""
_SUMMARIZE = """
import duckdb, sys
with duckdb.connect() as database:
    database.sql("SET timezone = 'UTC'")
    print(database.sql("SUMMARIZE SELECT * FROM read_parquet('" + sys.argv[1] + "')"))
"""
CHANGED = 10


def _checksum(world: World, side: int) -> str:
    script = world.folder / "checksum.py"
    script.write_text(_CHECKSUM)
    return f"{sys.executable} {script} {world.folder} '{world.url('src')}' '{world.shop}' {side}"


def _diff(world: World) -> str:
    ends = f"'{world.url('src')}' '{world.shop}'"
    return f"{world.tongqu} diff {ends} --table orders=diff_orders --certificate {world.folder}/certificate.json --json"


def _result(world: World) -> str:
    table = json.loads((world.folder / "certificate.json").read_text())["tables"][0]
    return f"{table['same']} {table['missing']} {table['extra']} {table['different']}"


def _equal(world: World) -> list[Row]:
    fill(world, "diff_orders")
    return world.compare(
        Method("one checksum query, MariaDB", _checksum(world, 1)),
        Method("one checksum query, PostgreSQL", _checksum(world, 0)),
        Method("tongqu diff, equal", _diff(world), None, lambda: _result(world), f"{world.rows} 0 0 0"),
    )


def _changed(world: World) -> list[Row]:
    fill(world, "diff_orders")
    step = world.rows // CHANGED
    world.shell(f"{world.mysql} -e 'UPDATE diff_orders SET amount = amount + 1 WHERE id % {step} = 7'")
    rows = world.compare(
        Method("one checksum query, MariaDB", _checksum(world, 1)),
        Method(f"tongqu diff, {CHANGED} rows changed", f"{_diff(world)} | tee {world.folder}/diff.json || test $? = 3",
               None, lambda: _result(world), f"{world.rows - CHANGED} 0 0 {CHANGED}"),
    )  # fmt: skip
    listed = json.loads((world.folder / "diff.json").read_text())["tables"][0]["listed"]
    if listed > world.rows // 100:
        raise RuntimeError(f"{listed} rows were listed to find {CHANGED}")
    print(f"  {listed} of {world.rows * 2} rows listed{os.linesep}", end="")
    return rows


def _profile(world: World) -> list[Row]:
    script = world.folder / "summarize.py"
    script.write_text(_SUMMARIZE)
    return world.compare(
        Method("duckdb SUMMARIZE", f"{sys.executable} {script} {world.parquet}"),
        Method("tongqu profile, Parquet", f"{world.tongqu} profile 'file:{world.parquet}' --json"),
    )


def _profile_postgres(world: World) -> list[Row]:
    script = world.folder / "summarize_csv.py"
    script.write_text(_SUMMARIZE.replace("read_parquet", "read_csv"))
    copied = world.folder / "copied.csv"
    return world.compare(
        Method("psql COPY csv, then duckdb SUMMARIZE",
               f"psql -qX -d src -c 'COPY orders TO STDOUT (FORMAT csv, HEADER)' > {copied} "
               f"&& {sys.executable} {script} {copied}"),
        Method("tongqu profile", f"{world.tongqu} profile '{world.url('src')}' --table orders --json"),
    )  # fmt: skip


SCENARIOS = [
    Scenario("diff", "Comparing equal tables, PostgreSQL and MariaDB at the same time",
             "one checksum query over the table, MariaDB", 1 / 1.5, 0.5, _equal),
    Scenario("diff-changed", f"Finding {CHANGED} changed rows", "one checksum query over the table, MariaDB",
             0.5, 0.33, _changed),
    Scenario("profile", "Profiling every column", "DuckDB's own SUMMARIZE of the same data as Parquet",
             1 / 1.5, 0.5, _profile),
    Scenario("profile-pg", "Profiling every column of a PostgreSQL table", "psql COPY csv, then duckdb SUMMARIZE",
             1 / 1.5, 0.5, _profile_postgres),
]  # fmt: skip
