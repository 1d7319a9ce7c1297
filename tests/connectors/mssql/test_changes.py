"""Rows of a change table as changes: a few columns in, one batch out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.mssql.log.changes import asked, changed, joined, merged, paired
from tongqu.core.errors import ReadError
from tongqu.core.log import AT, OP, UNCHANGED
from tongqu.testing.changing_server import lsn_of

FIELDS: list[pa.Field[Any]] = [pa.field("id", pa.int64()), pa.field("v", pa.string()), pa.field("doc", pa.string())]
MIDNIGHT = datetime(2026, 3, 1, 8)  # noqa: DTZ001  # of a server that is 8 hours ahead


def rows(*given: tuple[int, int, int, int, str | None, str | None]) -> pa.RecordBatch:
    """(lsn, operation, whether doc was touched, id, v, doc)"""
    schema = asked(FIELDS, ["doc"])
    values = [(lsn_of(lsn), lsn_of(at), code, MIDNIGHT, *more) for at, (lsn, code, *more) in enumerate(given)]
    return pa.RecordBatch.from_pylist([dict(zip(schema.names, row, strict=True)) for row in values], schema=schema)


def test_an_update_is_one_row_and_a_changed_key_is_two() -> None:
    raw = rows((1, 2, 1, 1, "a", "x"), (1, 3, 0, 1, "a", None), (1, 4, 0, 1, "b", "x"), (2, 3, 0, 1, "b", None),
               (2, 4, 0, 9, "b", "x"), (3, 1, 1, 9, "b", "x"))  # fmt: skip
    _, found = changed(raw, FIELDS, ["id"], ["doc"], 480)
    assert [(row[OP], row["id"], row["v"]) for row in found.to_pylist()] == [
        ("c", 1, "a"), ("u", 1, "b"), ("d", 1, "b"), ("c", 9, "b"), ("d", 9, "b"),
    ]  # fmt: skip
    assert found.column(AT)[0].as_py() == datetime(2026, 3, 1, tzinfo=UTC)
    assert UNCHANGED not in found.schema.names


def test_a_large_value_that_an_update_did_not_touch_and_did_not_tell_is_unchanged() -> None:
    raw = rows((1, 3, 0, 1, "a", None), (1, 4, 0, 1, "b", None), (2, 3, 1, 1, "b", None), (2, 4, 1, 1, "b", None))
    _, found = changed(raw, FIELDS, ["id"], ["doc"], 0)
    assert found.column(UNCHANGED).to_pylist() == [["doc"], []]


def test_both_rows_of_an_update_are_in_one_batch_wherever_the_answer_was_cut() -> None:
    raw = rows((1, 2, 1, 1, "a", ""), (2, 3, 1, 1, "a", ""), (2, 4, 1, 1, "b", ""))
    parts = list(paired([raw.slice(0, 2), raw.slice(2)]))
    assert [part.num_rows for part in parts] == [1, 2]
    with pytest.raises(ReadError, match="not its new one"):
        list(paired([raw.slice(0, 2)]))


def test_tables_are_merged_by_lsn_and_sequence() -> None:
    ours = changed(rows((1, 2, 1, 1, "a", ""), (1, 2, 1, 2, "b", ""), (256, 2, 1, 3, "c", "")), FIELDS, ["id"], [], 0)
    theirs = changed(rows((2, 2, 1, 7, "x", ""), (2, 2, 1, 8, "y", "")), FIELDS, ["id"], [], 0)
    found = list(merged([(0, *ours), (1, *theirs)], 1))
    assert [(number, batch.column("id")[0].as_py()) for number, batch in found] == [
        (0, 1), (0, 2), (1, 7), (1, 8), (0, 3),
    ]  # fmt: skip
    assert joined([batch for _, batch in found]).num_rows == 5
