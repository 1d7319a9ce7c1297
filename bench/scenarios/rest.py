"""A REST API into a database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.measure import Method, Row
from bench.scenarios.scenario import Scenario
from bench.world import World

_ROWS = 1_000_000
_PAGE = 1_000


def _into_postgres(world: World) -> list[Row]:
    """Pages of 1,000 rows from a server in a process of its own; the limit fetches the same pages and copies the same
    rows, both ready made."""
    pages, rows = _prepared(world)
    server = subprocess.Popen(
        [sys.executable, "-m", "tongqu.testing.services.vendor_api", pages, "from_rest"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        url = server.stdout.readline().strip() if server.stdout else ""
        world.orders("dst", "rest_limit", 0)
        world.orders("dst", "from_rest", 0)
        count = min(_ROWS, world.rows)
        expect = world.sql("src", f"SELECT count(*), sum(id), sum(amount) FROM orders WHERE id <= {count}")
        settings = "records=items&key=id&paging=page&paging.total=total"
        return world.compare(
            Method(
                "curl, COPY binary",
                f"curl -sf '{url}/page/from_rest?page=[1-{-(-count // _PAGE)}]' -o {world.folder}/page.json && "
                f"psql -qX -d dst --single-transaction -c 'TRUNCATE rest_limit' "
                f"-c 'COPY rest_limit FROM STDIN (FORMAT binary)' < {rows}",
                lambda: world.settle("dst"), lambda: world.counts("dst", "rest_limit"), expect,
            ),
            Method("tongqu sync", world.sync(f"{url}/page/from_rest#{settings}", world.url("dst")),
                   lambda: world.settle("dst"), lambda: world.counts("dst", "from_rest"), expect),
        )  # fmt: skip
    finally:
        if server.stdin:
            server.stdin.close()
        server.wait()


def _prepared(world: World) -> tuple[Path, Path]:
    """The first rows of the orders as Parquet, for the server, and as PostgreSQL's binary format."""
    import duckdb

    pages, rows = world.folder / "pages.parquet", world.folder / "pages.bin"
    with duckdb.connect() as database:
        database.sql("SET timezone = 'UTC'")
        first = f"FROM read_parquet('{world.parquet}') WHERE id <= {_ROWS} ORDER BY id"
        database.sql(f"COPY ({first}) TO '{pages}' (FORMAT parquet)")
    world.shell(
        f"psql -qX -d src -c 'COPY (SELECT * FROM orders WHERE id <= {_ROWS}) TO STDOUT (FORMAT binary)' > {rows}"
    )
    return pages, rows


SCENARIOS = [
    Scenario("rest-pg", "REST, pages of 1,000 rows as JSON → PostgreSQL, replace of a table with its types and key",
             "curl of the pages, then COPY binary of the same rows", 0.6, 0.48, _into_postgres),
]  # fmt: skip
