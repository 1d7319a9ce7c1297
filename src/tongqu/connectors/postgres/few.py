"""Upserts and deletes a few rows in one question to the server: what a change costs that should be seen at once.

The rows go as array literals into prepared statements, since preparing COPY, filling a table and merging it would be
six questions. Only where texts and the binary form of COPY mean the same; all else takes the ordinary way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.connectors.postgres.db import PgDb, literal, quoted
from tongqu.connectors.postgres.ddl import place
from tongqu.connectors.postgres.merging import Merge, exact, load_columns
from tongqu.core.data import Deletes, WriteMode, Written
from tongqu.core.errors import RefusedRowsError

if TYPE_CHECKING:
    from tongqu.kit.sql.landing import Landing

MOST = 256
"""So many rows at most: for more of them, kernels and COPY are faster than texts."""
_POINT = "tongqu_few"
_INTEGERS = ("smallint", "integer", "bigint")
_TEXTS = ("text", "character varying")


def upserted(db: PgDb, landing: Landing, rows: pa.Table) -> Written | None:
    """Upsert a few rows, opening the transaction if none is open; None, with nothing changed, where they must go the
    ordinary way (their types, a key that is null or comes twice, a row that the target refuses)."""
    write = landing.write
    columns = load_columns(landing)
    plain = write.mode is WriteMode.UPSERT and landing.merges and not (write.replay or landing.sieving)
    if not plain or not exact(landing) or write.deletes is Deletes.SOFT or set(rows.column_names) != set(columns):
        return None
    found = _arrays(landing, rows, columns)
    if found is None:
        return None
    kinds, arrays = found
    if not write.unique and len(set(zip(*(rows.column(n).to_pylist() for n in write.key), strict=True))) < len(rows):
        return None
    listed = ", ".join(map(quoted, columns))
    source = f"(SELECT * FROM unnest({_holes(kinds)}) AS s({listed})) s"
    answer = _asked(db, kinds, arrays, Merge(db, landing, source).one_statement())
    if answer is None:
        return None
    inserted, updated = map(int, answer)
    unchanged = rows.num_rows - inserted - updated
    return Written(inserted=inserted, updated=updated, unchanged=unchanged, bytes=rows.nbytes)


def removed(db: PgDb, landing: Landing, rows: pa.Table) -> int | None:
    """Delete the rows of a few keys; otherwise as `upserted`."""
    write = landing.write
    if write.mode is not WriteMode.UPSERT or not landing.merges or write.deletes is Deletes.SOFT:
        return None
    found = _arrays(landing, rows, write.key)
    if found is None:
        return None
    kinds, arrays = found
    names = ", ".join(map(quoted, write.key))
    same = " AND ".join(f"t.{quoted(n)} = s.{quoted(n)}" for n in write.key)
    target = place(db, write.dataset.name)
    answer = _asked(
        db, kinds, arrays,
        f"WITH gone AS (DELETE FROM {target} t USING unnest({_holes(kinds)}) AS s({names}) WHERE {same} RETURNING 1) "
        "SELECT count(*) FROM gone",
    )  # fmt: skip
    return None if answer is None else int(answer[0])


def _asked(db: PgDb, kinds: Sequence[str], arrays: Sequence[str], statement: str) -> tuple[Any, ...] | None:
    """Its one row; None if the target refuses: then all is as before, except that no transaction may be open."""
    text = f"({', '.join(f'{kind}[]' for kind in kinds)}) AS {statement}"
    name = "tongqu_" + hashlib.sha256(text.encode()).hexdigest()[:24]
    db.prepared(name, text)
    call = f"EXECUTE {name}({', '.join(map(literal, arrays))})"
    try:
        return db.at_once(call, _POINT)
    except RefusedRowsError:
        return None


def _holes(kinds: Sequence[str]) -> str:
    return ", ".join(f"${number}" for number in range(1, len(kinds) + 1))


def _arrays(landing: Landing, rows: pa.Table, columns: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """The element types and the array literals of these columns; None if one of them must go another way."""
    kinds, arrays = [], []
    for name in columns:
        column = rows.column(name)
        fit = _fit(column.type, landing.types.get(name, ""))
        if fit is None or (column.null_count and name in landing.write.key):
            return None
        kind, spelt = fit
        try:
            texts = [spelt(value) if value is not None else "NULL" for value in column.to_pylist()]
        except ValueError:  # no datetime of Python's, or a text that no SQL can have
            return None
        kinds.append(kind)
        arrays.append("{" + ",".join(texts) + "}")
    return kinds, arrays


def _fit(type: pa.DataType, native: str) -> tuple[str, Callable[[Any], str]] | None:
    """The server's element type and the spelling of an element, if both together are exact."""
    base, _, modifiers = native.partition("(")
    if pa.types.is_integer(type) and native in _INTEGERS:
        return native, str
    if pa.types.is_boolean(type) and native == "boolean":
        return native, str
    if pa.types.is_float64(type) and native == "double precision":
        return native, repr
    if pa.types.is_decimal128(type) and base == "numeric" and modifiers:
        whole, _, scale = modifiers.rstrip(")").partition(",")
        fits = type.scale <= int(scale or 0) and type.precision - type.scale <= int(whole) - int(scale or 0)
        return ("numeric", str) if fits else None
    if (pa.types.is_string(type) or pa.types.is_large_string(type)) and (base in _TEXTS or native == "uuid"):
        return ("text" if base in _TEXTS else native), _text
    if pa.types.is_timestamp(type) and type.unit == "us":
        fits = native == f"timestamp with{'' if type.tz else 'out'} time zone"
        return (native, _instant) if fits else None
    if pa.types.is_date32(type) and native == "date":
        return native, date.isoformat
    return None


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _instant(value: datetime) -> str:
    return f'"{value.isoformat()}"'
