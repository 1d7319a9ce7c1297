"""Pours made-up chunks into a file by URL, in a process that tests let die at a crash point.

`python -m tongqu.testing.crashing URL MODE`: three chunks of three rows each, keys 1 to 8 (5 comes twice).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tongqu.core import registry
from tongqu.core.data import Counts, Dataset, Write, WriteMode
from tongqu.testing.pour import pour

_FIELDS: list[pa.Field[Any]] = [pa.field("id", pa.int64(), nullable=False), pa.field("v", pa.string())]
SCHEMA = pa.schema(_FIELDS)
KEYS = ((1, 2, 3), (4, 5, 6), (7, 8, 5))


def run(url: str, mode: WriteMode) -> Counts:
    """Write the chunks; a run that died before goes on. Only upsert and history take the repeated key."""
    found = registry.by_url(url)
    assert found.sink is not None
    sink = found.sink(found.from_url(url))
    merges = mode in (WriteMode.UPSERT, WriteMode.HISTORY)
    key = ("id",) if mode is not WriteMode.APPEND else ()
    write = Write("t", Dataset("t", SCHEMA, key), mode, "sync", "run", key, started_at="2024-05-01T00:00:00+00:00")
    chunks = [
        pa.table({"id": ids, "v": [f"{number}-{id}" for id in ids]}, schema=SCHEMA)
        for number, ids in enumerate(KEYS if merges else ((1, 2, 3), (4, 5, 6), (7, 8)))
    ]
    try:
        return pour(sink, write, chunks)
    finally:
        sink.close()


def crash(url: str, mode: WriteMode, point: str) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own that dies at the point."""
    environment: Mapping[str, str] = {**os.environ, "TONGQU_CRASH_AT": point}
    command = [sys.executable, "-m", "tongqu.testing.crashing", url, mode.value]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


if __name__ == "__main__":
    run(sys.argv[1], WriteMode(sys.argv[2]))
