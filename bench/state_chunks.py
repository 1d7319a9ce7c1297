"""Brings changes through a step that keeps state, in chunks, and prints how many rows there were in a second.

`python -m bench.state_chunks WAY FOLDER ROWS`; ways: `groups` a sum and a count of 10,000 groups over changes of a
table with that many rows, `window` the same over messages in tumbling windows of one minute, `query` the GROUP BY of
DuckDB over all rows at once, in memory and without any state.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.core.data import Batch, Dataset
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.state.entering import entered
from tongqu.engine.state.machine import Machine
from tongqu.engine.state.store import Store

CHUNK, GROUPS = 20_000, 10_000
SCHEMA = pa.schema([("id", pa.int64()), ("line", pa.int64()), ("ts", pa.timestamp("us")), ("qty", pa.int64())])
MEASURES = {"n": "count(*)", "total": "sum(qty)"}


def tables(rows: int) -> Iterator[pa.Table]:
    """Chunks of rows, ten thousand to a second of event time."""
    random = np.random.default_rng(7)
    for first in range(0, rows, CHUNK):
        ids = np.arange(first, min(first + CHUNK, rows))
        lines, amounts = random.integers(0, GROUPS, len(ids)), random.integers(0, 100, len(ids))
        yield pa.Table.from_arrays(
            [pa.array(ids), pa.array(lines), pa.array(ids * 100).cast(pa.timestamp("us")), pa.array(amounts)],
            schema=SCHEMA,
        )


def followed(folder: Path, rows: int, *, window: bool) -> float:
    """Seconds for all chunks, each a durable version of the state."""
    settings = {
        "by": ["line"],
        **({"window": {"on": "ts", "size": "1m", "lateness": "5s"}} if window else {}),
        **MEASURES,
    }
    shape = plan(["t"], [parse_step({"aggregate": settings}, "steps[0]")], {"sink": None})
    store = Store(folder / "state.duckdb", limit_rows=100_000_000, threads=1)
    machine = Machine(shape, {"t": Dataset("t", SCHEMA, ("id",))}, store, frozenset({"t"} if window else ()))
    store.reset("")
    store.loaded("bench")
    store.rewind(0, "bench")
    chunks = []
    for table in tables(rows):
        ops: Any = pa.array(["c"] * table.num_rows)
        shown = table if window else table.append_column("_op", ops)
        chunks.append([Batch("t", one, {}) for one in shown.combine_chunks().to_batches()])
    begun = time.perf_counter()
    for number, batches in enumerate(chunks):
        with store.change() as version:
            delta = entered(machine, "t", batches)
            if delta is not None:
                machine.change({"t": delta}, version)
        if number % 16 == 15:
            store.forget(store.version - 1)
    took = time.perf_counter() - begun
    machine.close()
    store.close()
    return took


def queried(rows: int) -> float:
    """Seconds of one GROUP BY."""
    import duckdb

    whole = pa.concat_tables(tables(rows))
    with duckdb.connect(config={"threads": "1"}) as database:
        database.register("t", whole)
        begun = time.perf_counter()
        database.sql("SELECT line, count(*), sum(qty) FROM t GROUP BY line").to_arrow_table()
        return time.perf_counter() - begun


def main() -> None:
    """See the module."""
    way, folder, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    took = queried(rows) if way == "query" else followed(folder, rows, window=way == "window")
    print(rows / took)


if __name__ == "__main__":
    main()
