"""The smallest table with a key, `t (id, v)`, and how a sink is asked to write it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa

from tongqu.core.data import Dataset, Write, WriteMode

FIELDS: list[pa.Field[Any]] = [pa.field("id", pa.int64(), False), pa.field("v", pa.string())]
SCHEMA = pa.schema(FIELDS)


def rows(*values: tuple[int, str | None]) -> pa.Table:
    """A table of `SCHEMA`."""
    return pa.Table.from_pylist([{"id": id, "v": v} for id, v in values], schema=SCHEMA)


def write(mode: WriteMode, schema: pa.Schema = SCHEMA, **more: Any) -> Write:
    """A write of table `t` keyed by `id`."""
    key = () if mode is WriteMode.APPEND else ("id",)
    asked = Write("t", Dataset("t", schema, key), mode, "sync-1", "run-1", key, started_at="2024-05-01T00:00:00+00:00")
    return replace(asked, **more)
