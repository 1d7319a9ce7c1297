"""MongoDB into a file. No mongod can be had here: the server is SecantusDB, which walks the whole collection to count
and to take a sample, where mongod knows the one and picks the other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.measure import Method, Row
from bench.scenarios.scenario import Scenario
from bench.world import World
from tongqu.testing.services import start_mongodb

_ROWS = 1_000_000
_AT_ONCE = 20_000
_ARROW = """
import pyarrow.parquet as pq
from pymongo import MongoClient
from pymongoarrow.api import find_arrow_all
orders = MongoClient({url!r}, directConnection=True)["bench"].orders
{first}
pq.write_table(find_arrow_all(orders, {{}}), {file!r}, compression="zstd")
"""
_LOOK = "orders.estimated_document_count(), list(orders.aggregate([{'$sample': {'size': 1000}}]))"
"""What a mover that knows no schema asks first; mongod answers both from what it knows."""


def _into_parquet(world: World) -> list[Row]:
    """The limit is pymongoarrow in an environment of its own, since it wants an older Arrow."""
    count = min(_ROWS, world.rows)
    with start_mongodb() as server:
        with server.client() as client:
            for some in _orders(count):
                client.bench.orders.insert_many(some, ordered=False)
        python = world.folder / "arrow" / "bin" / "python"
        world.shell(f"{sys.executable} -m venv {world.folder}/arrow && {python} -m pip install -q pymongo pymongoarrow")
        url = server.url_of("bench")
        limit, ours = world.folder / "limit.parquet", world.folder / "mongo"
        plain = url.replace("auth_source", "authSource")
        expect = f"{count} {sum(range(count))}"

        def arrow(name: str, first: str) -> Method:
            script = world.folder / f"{'look' if first else 'arrow'}.py"
            script.write_text(_ARROW.format(url=plain, file=str(limit), first=first))
            return Method(
                name, f"{python} {script}", lambda: limit.unlink(missing_ok=True), lambda: _told(limit), expect
            )

        return world.compare(
            arrow("pymongoarrow, Parquet", ""),
            arrow("pymongoarrow, after a count and a sample", _LOOK),
            Method("tongqu sync", world.sync(url, f"file:{ours}/?format=parquet", "--table", "orders"),
                   lambda: (ours / "orders.parquet").unlink(missing_ok=True), lambda: _told(ours / "orders.parquet"),
                   expect),
        )  # fmt: skip


def _orders(count: int) -> Iterator[list[dict[str, Any]]]:
    """Documents of eight fields, in parts."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for first in range(0, count, _AT_ONCE):
        yield [
            {"_id": n, "order_no": f"N{n:08d}", "customer": f"customer {n % 977}", "amount": n * 0.25, "qty": n % 100,
             "paid": n % 2 == 0, "created_at": start + timedelta(seconds=n), "note": f"note of order {n}"}
            for n in range(first, min(first + _AT_ONCE, count))
        ]  # fmt: skip


def _told(path: Path) -> str:
    """Rows of a file and the sum of their keys."""
    import duckdb

    with duckdb.connect() as database:
        found = database.execute(f"SELECT count(*), sum(_id) FROM read_parquet('{path}')").fetchall()
    return " ".join(map(str, found[0]))


SCENARIOS = [
    Scenario("mongo-parquet", "MongoDB (SecantusDB), documents of eight fields → Parquet",
             "pymongoarrow's find_arrow_all, then a Parquet file", 0.6, 0.3, _into_parquet),
]  # fmt: skip
