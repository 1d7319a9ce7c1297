"""Rows as JSON come back exactly, whatever their type."""

from __future__ import annotations

import json
from datetime import time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.kit.originals import originals, restored, schema_of, shape_of
from tongqu.testing.types import CASES, Case


def same(one: pa.Table, other: pa.Table) -> bool:
    """Equal to the bit: NaN equals NaN, -0.0 does not equal 0.0."""
    return one.schema.equals(other.schema, check_metadata=True) and repr(one.to_pylist()) == repr(other.to_pylist())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_value_of_the_type_matrix_comes_back(case: Case) -> None:
    rows = case.table()
    texts = originals(rows)
    assert [set(json.loads(text)) for text in texts] == [{"id", "v"}] * rows.num_rows
    back = restored(texts, schema_of(shape_of(rows.schema)))
    assert back.failures == {}
    if case.name == "nanoseconds":
        assert back.rows.equals(rows)
    else:
        assert same(back.rows, rows)


VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), st.text(st.characters(codec="utf-8"))),
    "integer": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "unsigned": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "double": (pa.float64(), st.floats()),
    "decimal": (pa.decimal128(38, 10), st.integers(-(10**37), 10**37).map(lambda n: Decimal(f"{n}e-10"))),
    "binary": (pa.binary(), st.binary()),
    "instant": (pa.timestamp("us", "UTC"), st.integers(-(10**17), 10**17)),
    "wall": (pa.timestamp("ns"), st.integers(-(2**60), 2**60)),
    "day": (pa.date32(), st.integers(-100_000, 2_000_000)),
    "clock": (pa.time64("us"), st.times()),
    "flags": (pa.list_(pa.bool_()), st.lists(st.none() | st.booleans())),
    "numbers": (pa.list_(pa.int64()), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))),
}
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in VALUES.items()])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({name: st.none() | values for name, (_, values) in VALUES.items()}), max_size=5))
def test_any_rows_come_back(rows: list[dict[str, Any]]) -> None:
    arrays = [pa.array([row[name] for row in rows], kind) for name, (kind, _) in VALUES.items()]
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    back = restored(originals(table), SCHEMA)
    assert back.failures == {}
    for name in SCHEMA.names:
        mine: Any = table.column(name)
        theirs: Any = back.rows.column(name)
        if name == "double":
            bits = [np.array(c.fill_null(0.0)).view(np.int64).tolist() for c in (mine, theirs)]
            nan = [np.isnan(np.array(c.fill_null(0.0))).tolist() for c in (mine, theirs)]
            assert nan[0] == nan[1]
            assert [b for b, n in zip(bits[0], nan[0], strict=True) if not n] == [
                b for b, n in zip(bits[1], nan[0], strict=True) if not n
            ]
            assert mine.is_null().equals(theirs.is_null())
        else:
            assert mine.equals(theirs), name


def test_nested_values_come_back() -> None:
    kind = pa.list_(pa.struct([("price", pa.decimal128(10, 2)), ("at", pa.time64("us")), ("raw", pa.binary())]))
    kinds: dict[str, Any] = {"lines": kind, "codes": pa.map_(pa.string(), pa.int64()), "gap": pa.duration("us")}
    schema = pa.schema(kinds)
    lines = [[{"price": Decimal("1.50"), "at": time(1, 2, 3), "raw": b"\x00a"}], None, []]
    codes: list[Any] = [[("a", 2**62)], None, []]
    rows = pa.table([pa.array(lines, kind), pa.array(codes, kinds["codes"]), pa.array([5, None, -3], kinds["gap"])],
                    schema=schema)  # fmt: skip
    back = restored(originals(rows), schema)
    assert back.failures == {}
    assert back.rows.equals(rows)


def test_the_form_that_people_read() -> None:
    kinds: Any = {"n": pa.int64(), "d": pa.decimal128(5, 2), "t": pa.timestamp("us", "UTC"), "x": pa.binary()}
    schema = pa.schema(kinds)
    rows = pa.table([[1], [Decimal("1.50")], [0], [b"\xff"]], schema=schema)
    assert originals(rows) == ['{"n": 1, "d": "1.50", "t": "1970-01-01T00:00:00Z", "x": "ff"}']


def test_what_does_not_fit_names_the_field() -> None:
    kinds: Any = {"n": pa.int32(), "d": pa.date32()}
    schema = pa.schema(kinds)
    texts = [
        '{"n": 1, "d": "2026-01-31"}',
        '{"n": "x", "d": null}',
        '{"n": 1, "d": "2026-02-31"}',
        '{"line": 3}',
        "oops",
    ]
    back = restored(texts, schema)
    assert back.rows.num_rows == 1
    assert back.places == [0]
    assert restored(texts[1:], schema).rows.num_rows == 0
    assert {at: name for at, (name, _) in back.failures.items()} == {1: "n", 2: "d", 3: "line", 4: ""}
