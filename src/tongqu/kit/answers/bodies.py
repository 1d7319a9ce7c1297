"""JSON bodies of calls, made of rows by columns: whole records, or a template with their values in it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.core.errors import InvalidSettingsError
from tongqu.core.kernels import pc
from tongqu.kit.originals import constant, original_texts

_HOLE = re.compile(r'"\{(\w+|\*)\}"')
WHOLE = "*"


def fragments(rows: pa.Table, name: str) -> Any:
    """The JSON of each value of a column: decimals are numbers, JSON text is itself, dates and
    instants are text, binary is base64."""
    column, field = rows.column(name), rows.schema.field(name)
    logical = (field.metadata or {}).get(Meta.LOGICAL.value.encode(), b"")
    if pa.types.is_decimal(field.type) or logical in (b"json", b"decimal"):
        return pc.fill_null(pc.cast(column, pa.string()), constant("null"))
    if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
        column = _base64(column)
    plain = pa.table({"v": column})
    return pc.utf8_slice_codeunits(original_texts(plain), len('{"v": '), -1)


def as_texts(rows: pa.Table, names: Collection[str]) -> pa.Table:
    """The rows with numbers and booleans of these columns as text, so that their JSON is text too."""
    for place, field in enumerate(rows.schema):
        logical = (field.metadata or {}).get(Meta.LOGICAL.value.encode(), b"")
        kind = field.type
        plain = pa.types.is_decimal(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if field.name in names and (plain or pa.types.is_boolean(kind) or logical == b"decimal"):
            rows = rows.set_column(place, pa.field(field.name, pa.string()), pc.cast(rows.column(place), pa.string()))
    return rows


def _base64(column: Any) -> Any:
    import duckdb

    with duckdb.connect() as connection:
        found = connection.from_arrow(pa.table({"v": column})).project("to_base64(v) AS v").to_arrow_table()
    return found.column("v")


def objects(rows: pa.Table, names: Mapping[str, str]) -> list[str]:
    """Each row as a JSON object with the fields of `names`: the column's name and what it is called there."""
    parts: list[Any] = []
    for number, (column, called) in enumerate(names.items()):
        parts += [constant(f"{', ' if number else '{'}{json.dumps(called, ensure_ascii=False)}: ")]
        parts += [fragments(rows, column)]
    if not parts:
        return ["{}"] * rows.num_rows
    whole = [part.combine_chunks() if isinstance(part, pa.ChunkedArray) else part for part in parts]
    made: Any = pc.binary_join_element_wise(*whole, constant("}"), constant(""))
    texts: list[str] = made.to_pylist()
    return texts


class Template:
    """A body with holes: a string `"{name}"` is a column's value, `"{*}"` the whole record."""

    def __init__(self, body: Any):
        self._parts = _HOLE.split(json.dumps(body, ensure_ascii=False))

    def names(self) -> set[str]:
        """The columns it takes."""
        return set(self._parts[1::2]) - {WHOLE}

    def filled(self, rows: pa.Table, records: Sequence[str]) -> list[str]:
        """The body of each row; `records` are the whole records. Raises InvalidSettingsError for an unknown column."""
        if missing := sorted(self.names() - set(rows.column_names)):
            raise InvalidSettingsError(
                f"the body needs a field {missing[0]!r}, which the rows lack",
                path="write",
                hint=f"fields: {', '.join(rows.column_names)}",
            )
        held = {name: fragments(rows, name).to_pylist() for name in self.names()}
        made = []
        for place in range(rows.num_rows):
            parts = list(self._parts)
            for number in range(1, len(parts), 2):
                name = parts[number]
                parts[number] = records[place] if name == WHOLE else held[name][place]
            made.append("".join(parts))
        return made


def placed(document: Any, keys: str) -> str:
    """The keys of a path around a JSON text's place: `{"data": {"items": ` and `}}` joined by a null character."""
    above = [key for key in keys.split(".") if key]
    before = "".join(f"{{{json.dumps(key, ensure_ascii=False)}: " for key in above)
    return f"{before}{document}{'}' * len(above)}"


def same_value(theirs: Any, ours: Any) -> bool:
    """Whether two JSON values mean the same: numbers by value, also those written as text; an empty text is null."""
    if theirs == ours or (theirs is None and ours in (None, "")):
        return True
    try:
        return float(theirs) == float(ours)
    except (TypeError, ValueError):
        return str(theirs) == str(ours)
