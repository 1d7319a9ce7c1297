"""Rows as one text each, made by Arrow kernels for all rows at once, so that whole tables are compared as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.errors import InvalidPlanError, SchemaError
from tongqu.meaning.agreeing import Row

_BETWEEN, _NULL = "\x1f", "\\N"


@dataclass(frozen=True)
class Shape:
    """The fields that all sides have in common, their types, and which of them identify a record."""

    schema: pa.Schema
    key: tuple[str, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(self.schema.names)

    def packed(self, rows: pa.Table) -> pa.Table:
        """Columns `key` and `row` with a text for each row; `rows` has the fields of this shape in any order and in
        types of its own. Raises SchemaError if a value does not fit a field's type."""
        texts = {}
        for field in self.schema:
            try:
                cast = rows.column(field.name).cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise SchemaError(
                    f"a value of {field.name!r} does not fit the master's type ({field.type})",
                    hint="give the field the same type at all sides, or leave it out with `fields`",
                ) from None
            texts[field.name] = _escaped(cast.cast(pa.large_string()))
        key = _joined([texts[name] for name in self.key])
        return pa.table({"key": key, "row": _joined([texts[name] for name in self.fields])})

    def row(self, text: str | None) -> Row:
        """The row that a text stands for."""
        return None if text is None else dict(zip(self.fields, unpacked(text), strict=True))

    def text(self, row: Row) -> str | None:
        """The opposite of `row`."""
        return None if row is None else pack([row[name] for name in self.fields])

    def key_values(self, key: str) -> list[str | None]:
        """The values of a key."""
        return unpacked(key)

    def check(self) -> None:
        """Refuse types whose values have no text that tells them apart; raises InvalidPlanError."""
        for field in self.schema:
            kind = field.type
            if (
                pa.types.is_nested(kind)
                or pa.types.is_binary(kind)
                or pa.types.is_large_binary(kind)
                or not _told(kind)
            ):
                raise InvalidPlanError(
                    f"{field.name!r} ({kind}) cannot be kept in agreement", hint="leave it out with `fields`"
                )


def typed(texts: Sequence[str | None], kind: pa.DataType) -> Any:
    """Texts as Arrow writes them, or ISO 8601, as values of a type; raises pa.ArrowInvalid, ValueError."""
    if pa.types.is_time(kind):
        return pa.array([None if text is None else time.fromisoformat(text) for text in texts], kind)
    return pa.array(texts, pa.string()).cast(kind)


def _told(kind: pa.DataType) -> bool:
    """Whether values of a type can be made of texts."""
    try:
        typed([], kind)
    except pa.ArrowNotImplementedError:
        return False
    return True


def pack(values: Sequence[str | None]) -> str:
    """Values as one text, as `Shape.packed` makes it."""
    return _BETWEEN.join(
        _NULL if value is None else value.replace("\\", "\\\\").replace(_BETWEEN, "\\s") for value in values
    )


def unpacked(text: str) -> list[str | None]:
    """The opposite of `pack`."""
    return [None if part == _NULL else _unescaped(part) for part in text.split(_BETWEEN)]


def _unescaped(part: str) -> str:
    if "\\" not in part:
        return part
    return "\\".join(piece.replace("\\s", _BETWEEN) for piece in part.split("\\\\"))


def _escaped(column: Any) -> Any:
    plain = pc.replace_substring(pc.replace_substring(column, "\\", "\\\\"), _BETWEEN, "\\s")
    return pc.fill_null(plain, _NULL)


def _joined(columns: Sequence[Any]) -> Any:
    if len(columns) == 1:
        return columns[0]
    return pc.binary_join_element_wise(*columns, pa.scalar(_BETWEEN, pa.large_string()))
