"""Changes of a schema, each with rows before and after and what is then in the target; used by tests of all systems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta, WriteMode
from tongqu.core.schema_changes import Kind, Outcome, SchemaChanges
from tongqu.testing.conformance.place import Place
from tongqu.testing.tested import note


def fields(**kinds: Any) -> pa.Schema:
    """`id` as key, and these columns; a type in a tuple is required."""
    made = [pa.field("id", pa.int64(), nullable=False)]
    for name, kind in kinds.items():
        made.append(pa.field(name, kind[0], nullable=False) if isinstance(kind, tuple) else pa.field(name, kind))
    return pa.schema(made)


@dataclass(frozen=True)
class Case:
    """One change: rows before, rows after (ids 1 and 2 come again, 3 and 4 are new), and what is then in the target.

    `fits` are the columns of the rows that are left when the target followed; `kept` when it stayed as it was, by
    whether unfit values are blanked or their rows are set aside.
    """

    name: str
    kind: Kind
    before: pa.Table
    after: pa.Table
    followed: list[dict[str, Any]]
    blanked: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    codes: tuple[str, ...] = ()
    discarded: int = 0
    renamed: Mapping[str, str] = field(default_factory=dict)


def told(change: str, system: str, mode: SchemaChanges, write: WriteMode, outcome: Outcome) -> None:
    """Note an outcome for the table of the documentation."""
    note("schema_changes", change=change, systems=[system], mode=mode.value, write=write.value, outcome=outcome.value)


def rows(schema: pa.Schema, *values: tuple[Any, ...]) -> pa.Table:
    """Rows in the order of the schema."""
    columns = list(zip(*values, strict=True))
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def listed(names: str, *values: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Rows as dictionaries."""
    return [dict(zip(names.split(), row, strict=True)) for row in values]


def native(schema: pa.Schema, name: str, text: str) -> pa.Schema:
    """The schema with a source's own type noted for a column."""
    at = schema.get_field_index(name)
    return schema.set(at, schema.field(name).with_metadata({Meta.NATIVE.value: text}))


BIG = 2**40
SHORT = native(fields(v=pa.string()), "v", "postgres:character varying(4)")
LONG = native(fields(v=pa.string()), "v", "postgres:character varying(12)")

CASES = (
    Case(
        "new column",
        Kind.NEW,
        rows(fields(v=pa.string()), (1, "a"), (2, "b")),
        rows(fields(v=pa.string(), n=pa.int64()), (3, "c", 7), (4, "d", None)),
        listed("id v n", (3, "c", 7), (4, "d", None)),
        blanked=listed("id v", (3, "c"), (4, "d")),
        quarantined=listed("id v", (4, "d")),
        codes=("schema.column",),
        discarded=1,
    ),
    Case(
        "dropped column",
        Kind.DROPPED,
        rows(fields(v=pa.string(), n=pa.int64()), (1, "a", 1), (2, "b", 2)),
        rows(fields(v=pa.string()), (3, "c"), (4, "d")),
        listed("id v n", (3, "c", None), (4, "d", None)),
        blanked=listed("id v n", (3, "c", None), (4, "d", None)),
        quarantined=listed("id v n", (3, "c", None), (4, "d", None)),
    ),
    Case(
        "renamed column, declared",
        Kind.RENAMED,
        rows(fields(v=pa.string()), (1, "a"), (2, "b")),
        rows(fields(w=pa.string()), (3, "c"), (4, None)),
        listed("id w", (3, "c"), (4, None)),
        blanked=listed("id v", (3, None), (4, None)),
        quarantined=listed("id v", (4, None)),
        codes=("schema.column",),
        discarded=1,
        renamed={"w": "v"},
    ),
    Case(
        "renamed column, not declared",
        Kind.NEW,
        rows(fields(v=pa.string()), (1, "a"), (2, "b")),
        rows(fields(w=pa.string()), (3, "c"), (4, None)),
        listed("id v w", (3, None, "c"), (4, None, None)),
        blanked=listed("id v", (3, None), (4, None)),
        quarantined=listed("id v", (4, None)),
        codes=("schema.column",),
        discarded=1,
    ),
    Case(
        "widened integer",
        Kind.WIDENED,
        rows(fields(v=pa.int32()), (1, 1), (2, 2)),
        rows(fields(v=pa.int64()), (3, BIG), (4, 4)),
        listed("id v", (3, BIG), (4, 4)),
        blanked=listed("id v", (3, None), (4, 4)),
        quarantined=listed("id v", (4, 4)),
        codes=("schema.type",),
        discarded=1,
    ),
    Case(
        "widened decimal",
        Kind.WIDENED,
        rows(fields(v=pa.decimal128(5, 2)), (1, Decimal("1.50")), (2, Decimal("2.25"))),
        rows(fields(v=pa.decimal128(12, 4)), (3, Decimal("12345.6789")), (4, Decimal("4.5000"))),
        listed("id v", (3, Decimal("12345.6789")), (4, Decimal("4.5000"))),
        blanked=listed("id v", (3, None), (4, Decimal("4.50"))),
        quarantined=listed("id v", (4, Decimal("4.50"))),
        codes=("schema.type",),
        discarded=1,
    ),
    Case(
        "narrowed integer",
        Kind.NARROWED,
        rows(fields(v=pa.int64()), (1, BIG), (2, 2)),
        rows(fields(v=pa.int32()), (3, 3), (4, 4)),
        listed("id v", (3, 3), (4, 4)),
    ),
    Case(
        "number became text",
        Kind.RETYPED,
        rows(fields(v=pa.int32()), (1, 1), (2, 2)),
        rows(fields(v=pa.string()), (3, "A12"), (4, "4")),
        listed("id v", (4, 4)),
        blanked=listed("id v", (3, None), (4, 4)),
        quarantined=listed("id v", (4, 4)),
        codes=("schema.type",),
        discarded=1,
    ),
    Case(
        "may be null now",
        Kind.OPTIONAL,
        rows(fields(v=(pa.string(),)), (1, "a"), (2, "b")),
        rows(fields(v=pa.string()), (3, None), (4, "d")),
        listed("id v", (3, None), (4, "d")),
        blanked=listed("id v", (4, "d")),
        quarantined=listed("id v", (4, "d")),
        codes=("schema.null",),
    ),
    Case(
        "is required now",
        Kind.REQUIRED,
        rows(fields(v=pa.string()), (1, "a"), (2, None)),
        rows(fields(v=(pa.string(),)), (3, "c"), (4, "d")),
        listed("id v", (3, "c"), (4, "d")),
    ),
    Case(
        "other order of columns",
        Kind.REORDERED,
        rows(fields(v=pa.string(), n=pa.string()), (1, "a", "x"), (2, "b", "y")),
        rows(fields(n=pa.string(), v=pa.string()), (3, "z", "c"), (4, "q", "d")),
        listed("id v n", (3, "c", "z"), (4, "d", "q")),
    ),
)
LENGTH = Case(
    "longer text",
    Kind.WIDENED,
    rows(SHORT, (1, "a"), (2, "b")),
    rows(LONG, (3, "long text"), (4, "d")),
    listed("id v", (3, "long text"), (4, "d")),
    blanked=listed("id v", (3, None), (4, "d")),
    quarantined=listed("id v", (4, "d")),
    codes=("schema.type",),
    discarded=1,
)
ALL = [*CASES, LENGTH]


def contents(place: Place, name: str) -> dict[int, dict[str, Any]]:
    """The rows by id."""
    return by_id(place.table(name))


def by_id(found: pa.Table) -> dict[int, dict[str, Any]]:
    """Rows by their id."""
    return {row["id"]: row for row in found.to_pylist()}
