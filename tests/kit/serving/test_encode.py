"""Rows become bytes with every digit they have."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Meta
from tongqu.core.errors import AnswerError, CastError
from tongqu.core.server import Format, Limits, Page, Query
from tongqu.kit.serving.encode import page, pieces, table_of
from tongqu.kit.serving.texts import dumps

MANY = Limits(rows=10**6)


def asked(fields: list[pa.Field[Any]], keys: int = 0, **more: Any) -> Query:
    shown = fields[: len(fields) - keys]
    return Query(None, {}, tuple(shown), keys, **more)  # type: ignore[arg-type]  # nothing reads the tree here


def served(value: Any, kind: pa.DataType, logical: str = "", format: Format = "json") -> Page:
    metadata = {str(Meta.LOGICAL): logical} if logical else None
    field: pa.Field[Any] = pa.field("v", kind, metadata=metadata)
    return page(table_of([(value,)], [field]), asked([field]), format, MANY)


@pytest.mark.parametrize(
    ("value", "kind", "logical", "token"),
    [
        (Decimal("0.10"), pa.decimal128(5, 2), "", b"0.10"),
        (Decimal("0.0000000001"), pa.decimal128(38, 10), "", b"0.0000000001"),
        ("170141183460469231731687303715884105727", pa.string(), "decimal", b"170141183460469231731687303715884105727"),
        ("NaN", pa.string(), "decimal", b'"NaN"'),
        (2**63, pa.uint64(), "", b"9223372036854775808"),
        (0.1, pa.float32(), "", b"0.1"),
        (float("-inf"), pa.float64(), "", b'"-Infinity"'),
        (datetime(2026, 1, 2, 3, 4, 5, 100_000, UTC), pa.timestamp("us", "UTC"), "", b'"2026-01-02T03:04:05.1+00:00"'),
        (datetime(1, 1, 1), pa.timestamp("us"), "", b'"0001-01-01T00:00:00"'),  # noqa: DTZ001  it has no zone
        (date(9999, 12, 31), pa.date32(), "", b'"9999-12-31"'),
        (time(1, 2, 3, 4), pa.time64("us"), "", b'"01:02:03.000004"'),
        (b"\x00\xff", pa.binary(), "", b'"\\\\x00ff"'),
        ('{"a": 1.10}', pa.string(), "json", b'{"a": 1.10}'),
        ('"}, {"injected', pa.string(), "json", b'"\\"}, {\\"injected"'),
        ([0.1, None], pa.list_(pa.float32()), "", b"[0.1,null]"),
        ({"a": Decimal("1.10")}, pa.struct([("a", pa.decimal128(5, 2))]), "", b'{"a":1.10}'),
        (None, pa.decimal128(5, 2), "", b"null"),
    ],
)
@pytest.mark.parametrize("rows", [1, 101])
def test_a_value_is_written_exactly(value: Any, kind: pa.DataType, logical: str, token: bytes, rows: int) -> None:
    field: pa.Field[Any] = pa.field("v", kind, metadata={str(Meta.LOGICAL): logical} if logical else None)
    made = page(table_of([(value,)] * rows, [field]), asked([field]), "json", MANY).body
    if logical == "json" and rows == 1 and token.startswith(b"{"):
        token = b'{"a":1.10}'
    assert made == b"[" + b",".join([b'{"v":' + token + b"}"] * rows) + b"]"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(), st.sampled_from(['"', "\x00", "\\", "😀", "a\r\nb"])), max_size=120))
def test_any_text_comes_back_from_every_format(texts: list[str | None]) -> None:
    field: pa.Field[Any] = pa.field('na"me', pa.string())
    table = table_of([(text,) for text in texts], [field])
    assert json.loads(page(table, asked([field]), "json", MANY).body) == [{'na"me': text} for text in texts]
    read = list(csv.reader(io.StringIO(page(table, asked([field]), "csv", MANY).body.decode(), newline="")))
    assert [line[0] if line else "" for line in read] == ['na"me', *[text or "" for text in texts]]
    arrow = pa.ipc.open_stream(page(table, asked([field]), "arrow", MANY).body).read_all()
    assert arrow.column(0).to_pylist() == texts


def test_an_empty_text_in_csv_is_no_null() -> None:
    field: pa.Field[Any] = pa.field("v", pa.string())
    made = page(table_of([("",), (None,), ("x",)], [field]), asked([field]), "csv", MANY).body
    assert made == b'v\r\n""\r\n\r\nx\r\n'


def test_keys_are_no_part_of_rows() -> None:
    fields: list[pa.Field[Any]] = [pa.field("a", pa.int64()), pa.field("a", pa.decimal128(5, 2))]
    made = page(table_of([(1, Decimal("0.50")), (2, Decimal("1.50"))], fields), asked(fields, keys=1), "rows", MANY)
    assert (made.values, made.last, made.body) == ([[1], [2]], (Decimal("1.50"),), b"")


def test_masks_after_the_database_come_before_every_byte() -> None:
    fields: list[pa.Field[Any]] = [pa.field("a", pa.int64())]
    query = asked(fields, after={"a": lambda value: None if value is None else f"#{value}"})
    made = page(table_of([(1,), (None,)], fields), query, "json", MANY)
    assert made.body == b'[{"a":"#1"},{"a":null}]'


def test_pieces_are_the_page() -> None:
    fields: list[pa.Field[Any]] = [pa.field("a", pa.int64())]
    tables = [table_of([(n,) for n in range(10)], fields), table_of([], fields), table_of([(10,)], fields)]
    for format in ("json", "csv"):
        one = page(pa.concat_tables(tables), asked(fields), format, MANY).body
        assert b"".join(pieces(tables, asked(fields), format, MANY, tables[0].schema)) == one


def test_too_many_rows_or_bytes_are_refused() -> None:
    fields: list[pa.Field[Any]] = [pa.field("a", pa.int64())]
    table = table_of([(n,) for n in range(10)], fields)
    with pytest.raises(AnswerError):
        page(table, asked(fields), "json", Limits(rows=9))
    with pytest.raises(AnswerError):
        list(pieces([table], asked(fields), "csv", Limits(bytes=5), table.schema))


def test_a_value_of_another_type_is_told_by_its_field_only() -> None:
    with pytest.raises(CastError) as told:
        table_of([("sécret",)], [pa.field("a", pa.int64())])
    assert "sécret" not in told.value.message and told.value.field == "a"


def test_plain_values_keep_their_digits() -> None:
    assert (
        dumps({"a": Decimal("1.10"), "b": [2**70, True, None]}) == b'{"a":1.10,"b":[1180591620717411303424,true,null]}'
    )
