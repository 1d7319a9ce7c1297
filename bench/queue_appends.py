"""Appends records of 200 bytes durably in one of several ways, and prints how many there were in a second.

`python -m bench.queue_appends WAY FOLDER RECORDS`; ways: `one` a SQLite transaction per record, `singles` the queue
with 16 threads that append one record at a time, `blocks` the queue with 8 threads that append 1,000 at a time,
`segment` a bare file of checksummed blocks of 1,000 with one fdatasync each.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.kit.queue.queue import Queue

BODY = bytes(range(192))
FIELDS: list[pa.Field[Any]] = [pa.field("id", pa.int64()), pa.field("body", pa.binary())]
SCHEMA = pa.schema(FIELDS)


def rows(first: int, count: int) -> pa.RecordBatch:
    """Records from `first` on."""
    ids = pa.array(range(first, first + count), pa.int64())
    return pa.RecordBatch.from_arrays([ids, pa.array([BODY] * count, pa.binary())], schema=SCHEMA)


def one(folder: Path, records: int) -> None:
    """A transaction per record."""
    db = sqlite3.connect(folder / "one.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode = wal", "PRAGMA synchronous = full",
                      "CREATE TABLE record (id INTEGER PRIMARY KEY, body BLOB)"):  # fmt: skip
        db.execute(statement)
    for number in range(records):
        db.execute("INSERT INTO record VALUES (?, ?)", (number, BODY))
    db.close()


def queued(folder: Path, records: int, *, threads: int, at_once: int) -> None:
    """The queue, appended by several threads; each waits for its last record at the end."""
    queue = Queue(str(folder / "bench.queue"))
    queue.declare("t", SCHEMA)
    each = records // threads // at_once
    made = [rows(n * at_once, at_once) for n in range(threads)]

    def work(number: int) -> None:
        waiting = [queue.append("t", made[number]) for _ in range(each)]
        for future in waiting:
            future.result()

    running = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if queue.head() != each * threads * at_once:
        raise SystemExit("records are missing")
    queue.close()


def segment(folder: Path, records: int) -> None:
    """A bare file."""
    block = rows(0, 1000)
    file = os.open(folder / "bench.segment", os.O_CREAT | os.O_WRONLY)
    for _ in range(records // 1000):
        body = block.serialize().to_pybytes()
        os.write(file, len(body).to_bytes(8, "little") + zlib.crc32(body).to_bytes(8, "little") + body)
        os.fdatasync(file)
    os.close(file)


WAYS: dict[str, Callable[[Path, int], None]] = {
    "one": one,
    "singles": lambda folder, records: queued(folder, records, threads=16, at_once=1),
    "blocks": lambda folder, records: queued(folder, records, threads=8, at_once=1000),
    "segment": segment,
}


def main() -> None:
    """Run one way."""
    way, folder, records = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    begun = time.perf_counter()
    WAYS[way](folder, records)
    print(round(records / (time.perf_counter() - begun)))


if __name__ == "__main__":
    main()
