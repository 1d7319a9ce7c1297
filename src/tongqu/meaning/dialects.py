"""What each database computes exactly as DuckDB does, as data: whatever is not listed runs in DuckDB.

A *family* is a kind of value: int, decimal, text, bool, date, timestamp, timestamptz. Left out on purpose:
- order of text (collations and server encodings), upper/lower (locale), trim (which blanks), round, division, modulo,
  date arithmetic, casts that can fail, floats (text forms, float4 promotion);
- MySQL: text (case-insensitive and padding collations), `||` (it means OR), booleans (tinyint can hold 2), arithmetic
  (results are widened to bigint silently), dates ('0000-00-00');
- SQLite: values of any type may stand in any column, so only the null test is safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Dialect:
    """The exact part of one database's SQL.

    `columns` are families whose columns may be used as values; `order` those where `<` agrees; `nodes` are names of
    syntax-tree classes; `casts` are allowed (from, to) family pairs, and only where every value fits.
    """

    name: str
    quote: str = '"'
    columns: frozenset[str] = frozenset()
    order: frozenset[str] = frozenset()
    arithmetic: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    casts: frozenset[tuple[str, str]] = frozenset()
    types: Mapping[str, str] = field(default_factory=dict)
    """Arrow type → the database's type, for the outermost cast of a computed column."""
    text_types: tuple[str, ...] = ()
    """Beginnings of `tongqu.native` whose values are plain text (no padding)."""
    collate: str = ""
    """Makes text equality byte equality."""


_LOGIC = ("And", "Or", "Not", "Paren", "Is", "EQ", "NEQ", "GT", "GTE", "LT", "LTE", "In", "Between", "Null", "Literal")
_VALUES = ("Boolean", "NullSafeEQ", "NullSafeNEQ", "Coalesce", "Nullif", "Case", "Add", "Sub", "Mul", "Neg", "Abs",
           "DPipe", "Length", "Substring", "Left", "Replace", "StartsWith", "Like", "Cast", "TryCast")  # fmt: skip
_SAME = ("int", "decimal", "text", "bool", "date", "timestamp", "timestamptz")
_CASTS = frozenset(
    {(kind, kind) for kind in _SAME} | {("int", "decimal"), ("int", "text"), ("decimal", "text"), ("bool", "text")}
)

DIALECTS: Mapping[str, Dialect] = {
    "postgres": Dialect(
        "postgres",
        columns=frozenset(("int", "decimal", "text", "bool", "date", "timestamp", "timestamptz")),
        order=frozenset(("int", "decimal", "bool", "date", "timestamp", "timestamptz")),
        arithmetic=frozenset(("int", "decimal")),
        nodes=frozenset(_LOGIC + _VALUES),
        casts=_CASTS,
        types={
            "int16": "smallint",
            "int32": "integer",
            "int64": "bigint",
            "bool": "boolean",
            "string": "text",
            "date32[day]": "date",
            "timestamp[us]": "timestamp",
            "timestamp[us, tz=UTC]": "timestamptz",
        },
        text_types=("postgres:text", "postgres:character varying", "postgres:varchar"),
        collate=' COLLATE "C"',
    ),
    "mysql": Dialect(
        "mysql",
        quote="`",
        columns=frozenset(("int", "decimal")),
        order=frozenset(("int", "decimal")),
        nodes=frozenset(_LOGIC),
    ),
    "sqlite": Dialect("sqlite", nodes=frozenset(("And", "Or", "Not", "Paren", "Is", "Null"))),
}
