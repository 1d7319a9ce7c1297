"""Columns as array literals, which PostgreSQL unfolds into the same values."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa

from tongqu.kit.tables.arrays import element, literal, slices


def test_values_are_escaped_and_null_is_told_from_its_name() -> None:
    texts = pa.array(["a,b", '"', "\\", "{}", "", " ", None, "NULL", "中\n\t"])
    assert literal(texts) == '{"a,b","\\"","\\\\","{}",""," ",NULL,"NULL","中\n\t"}'
    assert literal(pa.array([b"", b"\x00\xff", None])) == '{"","00ff",NULL}'
    assert literal(pa.array([Decimal("1E-20"), None], pa.decimal128(30, 20))) == "{0.00000000000000000001,NULL}"
    assert literal(pa.array([0, None], pa.timestamp("us", "Asia/Shanghai"))) == "{1970-01-01 00:00:00.000000,NULL}"
    assert literal(pa.array([True, False, None])) == "{true,false,NULL}"
    assert literal(pa.array([], pa.string())) == "{}"


def test_one_value_is_said_as_a_parameter_would_be() -> None:
    assert element("u.c0", "CAST(? AS int8)", pa.int64()) == "CAST(u.c0 AS int8)"
    assert element("u.c0", "?", pa.binary()) == "decode(u.c0, 'hex')"
    assert element("u.c0", "?", pa.bool_()) == "CAST(u.c0 AS boolean)"
    assert element("u.c0", "?", pa.int64()) == "CAST(u.c0 AS bigint)"
    assert element("u.c0", "?", pa.string()) == "u.c0"


def test_statements_hold_many_small_rows_or_one_great_one() -> None:
    small = pa.array(range(10_000))
    assert [len(part[0]) for part in slices([small])] == [4096, 4096, 1808]
    great = pa.array(["x" * (5 << 20)] * 2)
    assert [len(part[0]) for part in slices([great])] == [1, 1]
