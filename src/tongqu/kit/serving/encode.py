"""Rows become the bytes of an answer here, a column at a time, the same for every system.

A server gives an Arrow table whose columns are those of its query, keys behind; `table_of` makes one of a driver's
rows.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.data import Meta
from tongqu.core.errors import AnswerError, CastError, InvalidPlanError
from tongqu.core.server import Format, Limits, Page, Query
from tongqu.kit.serving.texts import column, dumps, json_tokens, logical, plain_texts, values

__all__ = ["Encoder", "dumps", "page", "pieces", "table_of", "within"]

_FEW = 100
"""Rows up to which single values cost less than Arrow's kernels do to be called."""
_QUOTED = r'[",\r\n]'


def table_of(rows: Sequence[Sequence[Any]], fields: Sequence[pa.Field[Any]], *, texts: bool = False) -> pa.Table:
    """A driver's rows as an Arrow table of these fields, exact or CastError naming the field and no value. With `texts`
    a column of dates or instants that holds a text (`infinity`) becomes one of texts."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in fields)
    arrays, made = [], []
    for field, cells in zip(fields, columns, strict=True):
        try:
            array = pa.array(cells if isinstance(cells, list) else list(cells), field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            if not texts or not pa.types.is_temporal(field.type):
                raise CastError(f"a value of {field.name!r} is no {field.type}", field=field.name) from None
            array = _said(cells, field)
        arrays.append(array)
        made.append(field.with_type(array.type))
    return pa.Table.from_arrays(arrays, schema=pa.schema(made))


def _said(cells: Sequence[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    said = [cell if isinstance(cell, str) else None for cell in cells]
    try:
        rest = pa.array([None if isinstance(cell, str) else cell for cell in cells], field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        raise CastError(f"a value of {field.name!r} is no {field.type}", field=field.name) from None
    found: pa.Array[Any] = pc.coalesce(plain_texts(rest, field), pa.array(said, pa.string()))
    return found


def page(table: pa.Table, query: Query, format: Format, limits: Limits) -> Page:
    """The page that a query's rows are: `table` has the query's columns in order, then its keys.

    How values are written follows the table's own types and metadata. Raises AnswerError beyond the limits.
    """
    within(limits, rows=table.num_rows)
    encoder = Encoder(query, format, table.schema)
    last = encoder.last(table)
    if format == "rows":
        return Page(b"", table.num_rows, last, encoder.values(table))
    body = b"".join((encoder.head(), encoder.piece(table), encoder.tail()))
    within(limits, size=len(body))
    return Page(body, table.num_rows, last)


def pieces(
    tables: Iterable[pa.Table], query: Query, format: Format, limits: Limits, schema: pa.Schema
) -> Iterator[bytes]:
    """The same bytes in pieces, one per table. Raises AnswerError when the limits are passed, in the middle of them."""
    encoder = Encoder(query, format, schema)
    head = encoder.head()
    rows, size = 0, len(head)
    yield head
    for table in tables:
        rows += table.num_rows
        within(limits, rows=rows)
        if made := encoder.piece(table):
            size += len(made)
            within(limits, size=size)
            yield made
    yield encoder.tail()


def within(limits: Limits, *, rows: int = 0, size: int = 0) -> None:
    """Raises AnswerError beyond the limits."""
    if rows > limits.rows:
        raise AnswerError(
            f"the answer has more than {limits.rows} rows", hint="ask for fewer rows", params={"rows": limits.rows}
        )
    if size > limits.bytes:
        raise AnswerError(
            f"the answer has more than {limits.bytes} bytes",
            hint="ask for fewer rows or columns",
            params={"bytes": limits.bytes},
        )


class Encoder:
    """Writes tables of one query in one format; a body is `head`, any number of `piece`s, `tail`."""

    def __init__(self, query: Query, format: Format, schema: pa.Schema):
        self._format = format
        self._count = len(schema) - query.keys
        self._names = [field.name for field in query.columns] or list(schema.names)[: self._count]
        if len(self._names) != self._count:
            raise InvalidPlanError(f"the query gives {self._count} columns, {len(self._names)} were announced")
        self._fields = [schema.field(number) for number in range(len(schema))]
        self._after: Mapping[str, Callable[[Any], Any]] = query.after
        self._announced = {field.name: field.type for field in query.columns}
        self._written = False
        self._blocks = _Blocks()
        self._stream: Any = None

    def head(self) -> bytes:
        """What stands before the first row. The Arrow stream's schema comes with its first table."""
        if self._format == "json":
            return b"["
        if self._format == "csv":
            return ",".join(_csv_word(name) for name in self._names).encode() + b"\r\n"
        if self._format == "rows":
            raise InvalidPlanError("rows are given as values, not as bytes")
        return b""

    def piece(self, table: pa.Table) -> bytes:
        """The rows of a table; nothing if there are none."""
        if self._format == "arrow":
            return self._arrow(table)
        if not table.num_rows:
            return b""
        if self._format == "csv":
            return self._csv(table)
        made = self._json(table)
        first, self._written = not self._written, True
        return made if first else b"," + made

    def tail(self) -> bytes:
        """What stands behind the last row."""
        if self._format == "json":
            return b"]"
        if self._format != "arrow":
            return b""
        if self._stream is None:
            empty = pa.schema(self._fields).empty_table()
            self._arrow(empty)
        self._stream.close()
        return self._blocks.taken()

    def values(self, table: pa.Table) -> list[list[Any]]:
        """One list per row, of plain JSON values; decimals are `Decimal`."""
        if not self._count:
            return [[] for _ in range(table.num_rows)]
        made = [values(*self._column(table, number)) for number in range(self._count)]
        return [list(row) for row in zip(*made, strict=True)]

    def last(self, table: pa.Table) -> tuple[Any, ...]:
        """The keys of the last row as plain JSON values."""
        keys = range(self._count, len(self._fields))
        if not table.num_rows or not keys:
            return ()
        row = table.slice(table.num_rows - 1)
        return tuple(values(column(row.column(number)), self._fields[number])[0] for number in keys)

    def _column(self, table: pa.Table, number: int) -> tuple[pa.Array[Any], pa.Field[Any]]:
        array, field = column(table.column(number)), self._fields[number]
        change = self._after.get(self._names[number])
        if change is None:
            return array, field
        changed = [change(value) for value in array.to_pylist()]
        try:
            return pa.array(changed, self._announced.get(self._names[number], array.type)), field
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array([None if value is None else str(value) for value in changed], pa.string()), field

    def _json(self, table: pa.Table) -> bytes:
        if table.num_rows <= _FEW or not self._count:
            return dumps([dict(zip(self._names, row, strict=True)) for row in self.values(table)])[1:-1]
        parts: list[Any] = []
        for number, name in enumerate(self._names):
            tokens = json_tokens(*self._column(table, number))
            parts += [("," if number else "{") + orjson.dumps(name).decode() + ":", tokens]
        return _lines([*parts, "}"], ",", "null")

    def _csv(self, table: pa.Table) -> bytes:
        parts: list[Any] = []
        for number in range(self._count):
            array, field = self._column(table, number)
            parts += [",", _csv_cells(plain_texts(array, field))] if number else [_csv_cells(plain_texts(array, field))]
        return _lines([*parts, "\r\n"], "", "") if parts else b"\r\n" * table.num_rows

    def _arrow(self, table: pa.Table) -> bytes:
        columns = [self._column(table, number) for number in range(self._count)]
        if self._stream is None:
            named = zip(self._names, columns, strict=True)
            fields = [pa.field(name, array.type, metadata=_meaning(field)) for name, (array, field) in named]
            self._schema = pa.schema(fields)
            self._stream = pa.ipc.new_stream(self._blocks, self._schema)
        arrays = [array.cast(field.type) for (array, _), field in zip(columns, self._schema, strict=True)]
        self._stream.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        return self._blocks.taken()


class _Blocks(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any, /) -> int:
        self._held.append(bytes(data))
        self._size += len(self._held[-1])
        return len(self._held[-1])

    def taken(self) -> bytes:
        """All bytes since the last time."""
        made, self._held = b"".join(self._held), []
        return made


def _meaning(field: pa.Field[Any]) -> dict[str, str] | None:
    """The metadata that belongs to an answer: what texts stand for, nothing of where they come from."""
    meaning = logical(field)
    return {str(Meta.LOGICAL): meaning} if meaning else None


def _lines(parts: list[Any], between: str, null: str) -> bytes:
    """Parts joined to one text per row, rows joined to bytes."""
    rows: Any = pc.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement=null)
    return between.join(rows.to_pylist()).encode()


def _csv_word(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if text == "" or any(sign in text for sign in ',"\r\n') else text


def _csv_cells(texts: Any) -> Any:
    """Texts as RFC 4180 wants them: quoted where they must be, the empty text too, so that it is no null."""
    marked = pc.or_(pc.match_substring_regex(texts, _QUOTED), pc.equal(texts, pa.scalar("")))
    if not pc.any(marked).as_py():
        return texts
    doubled = pc.replace_substring(texts, '"', '""')
    return pc.if_else(marked, pc.binary_join_element_wise('"', doubled, '"', ""), texts)
