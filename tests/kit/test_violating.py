"""Values that come twice only in the whole generation are set aside; a wrong key is not dirty data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core import registry
from tongqu.core.connector import Sink
from tongqu.core.data import Dataset, Deletes, Write, WriteMode
from tongqu.core.dirty import Dirty
from tongqu.core.errors import DataError
from tongqu.kit.originals import originals, restored, schema_of
from tongqu.testing.pour import pour

KINDS: dict[str, Any] = {
    "id": pa.int64(), "code": pa.string(), "price": pa.decimal128(10, 2), "at": pa.timestamp("us", "UTC"),
    "ok": pa.bool_(),
}  # fmt: skip
SCHEMA = pa.schema(KINDS)


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sink]:
    url = f"{request.param}:{tmp_path}/sink.db"
    if request.param == "postgres":
        url = str(request.getfixturevalue("pg_url"))
    connector = registry.by_url(url)
    assert connector.sink is not None
    with closing(connector.sink(connector.from_url(url))) as made:
        yield made


def rows(*codes: str) -> pa.Table:
    at = datetime(2026, 3, 1, 12, 30, 0, 5, tzinfo=UTC)
    values = [{"id": n, "code": code, "price": Decimal("1.50"), "at": at, "ok": True} for n, code in enumerate(codes)]
    return pa.Table.from_pylist(values, schema=SCHEMA)


def asked(mode: WriteMode, run: str, **more: Any) -> Write:
    return Write("t", Dataset("t", SCHEMA, ("id",)), mode, "s", run, ("id",), started_at="2026-03-01T00:00:00Z", **more)


def unique(sink: Sink) -> None:
    """A first generation, with an index that allows each code once."""
    pour(sink, asked(WriteMode.REPLACE, "run-1"), [rows("first")])
    db: Any = sink.control()  # type: ignore[attr-defined]  # every SQL sink has its own connection
    db.begin()
    db.run("CREATE UNIQUE INDEX codes ON t (code)")
    db.commit()


@pytest.mark.parametrize("mode", [WriteMode.REPLACE, WriteMode.UPSERT])
def test_a_repeated_value_is_set_aside_and_the_rest_goes_on(sink: Sink, mode: WriteMode) -> None:
    unique(sink)
    arriving = rows("a", "b", "c", "b", "d")
    deletes = Deletes.HARD if mode is WriteMode.UPSERT else Deletes.IGNORE
    counts = pour(sink, asked(mode, "run-2", deletes=deletes), [arriving])
    assert (counts.read, counts.written, counts.quarantined) == (5, 4, 1)
    (row,) = sink.dirty(Dirty())
    assert (row["code"], row["field"], row["value"]) == ("target.unique", "code", "b")
    back = restored([row["original"]], schema_of(row["shape"])).rows
    assert originals(back) == originals(arriving.slice(3, 1))


def test_more_repeated_values_than_others_mean_a_wrong_key(sink: Sink) -> None:
    unique(sink)
    with pytest.raises(DataError):
        pour(sink, asked(WriteMode.REPLACE, "run-2"), [rows("a", "a", "a", "b")])
    assert sink.dirty(Dirty()) == []
