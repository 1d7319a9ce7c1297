"""Reads a table again while the log is followed: by key in pieces, each put exactly where its snapshot is in the log.

DBLog (arXiv 2010.12597) writes watermarks around each piece and drops the rows that changed between them. MariaDB tells
which place of its log a consistent snapshot belongs to, so nothing is written and no row needs to be dropped: the
reader, which is never ahead of that place, gives the piece when it has come there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.connectors.mysql.catalog import ColumnInfo
from tongqu.connectors.mysql.db import quoted
from tongqu.connectors.mysql.decode import decode
from tongqu.connectors.mysql.log.places import Place
from tongqu.connectors.mysql.log.shapes import Shape
from tongqu.connectors.mysql.ranges import Ordering
from tongqu.connectors.mysql.stream import Cells, Stream
from tongqu.core.data import BadRow, Batch
from tongqu.core.log import AT, OP
from tongqu.kit import lasting
from tongqu.kit.sql.key_ranges import Bound, bounds

_ROWS = 10_000
_SHAPE = (
    "SELECT COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} "
    "AND TABLE_NAME = {table} ORDER BY ORDINAL_POSITION"
)


@dataclass(frozen=True)
class _Piece:
    """Rows of a table as they were at a place; then what is left of it."""

    name: str
    place: Place
    rows: pa.RecordBatch
    bad: list[BadRow]
    left: dict[str, Any] | None


class Rereading:
    """Which tables are to be read again, kept in `path` until that is durable, and how far that is.

    The progress is part of the positions that the log gives (`state`), so it is committed with the rows.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._asked: list[str] = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else []
        self._done: dict[str, Place] = {}
        self._piece: _Piece | None = None
        self.state: dict[str, Any] = {}

    def ask(self, name: str) -> None:
        """Read this table again from its beginning."""
        with self._lock:
            self._done.pop(name, None)
            if name not in self._asked:
                self._asked.append(name)
            self._save()

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on where a stored position was."""
        self.state, self._piece, self._done = dict(state), None, {}

    def acknowledge(self, place: Place) -> None:
        """What was read before this place is durable."""
        with self._lock:
            gone = [name for name, end in self._done.items() if place.behind(end)]
            for name in gone:
                del self._done[name]
                if name in self._asked:
                    self._asked.remove(name)
            if gone:
                self._save()

    def leave(self, name: str) -> None:
        """This table is not to be read again: it is lost, or read in full."""
        if self._piece is not None and self._piece.name == name:
            self._piece = None
        self.state = {own: left for own, left in self.state.items() if own != name}
        with self._lock:
            self._done.pop(name, None)
            if name in self._asked:
                self._asked.remove(name)
                self._save()

    def forget(self) -> None:
        """Nothing is to be read again."""
        with self._lock:
            self._asked, self._done, self._piece, self.state = [], {}, None, {}
            if self._path is not None:
                self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        if self._path is not None:
            lasting.make_folder(self._path.parent)
            lasting.put(self._path, json.dumps(self._asked).encode())

    @property
    def ready(self) -> bool:
        """Whether a piece has been read and not been given."""
        return self._piece is not None

    def waits_for(self, place: Place) -> bool:
        """Whether a piece belongs here."""
        return self._piece is not None and place.behind(self._piece.place)

    @property
    def busy(self) -> bool:
        """Whether anything is being read again, or shall be."""
        return self._piece is not None or bool(self.wanted)

    @property
    def wanted(self) -> str:
        """The table whose next piece is to be read now; empty if there is none."""
        if self._piece is not None:
            return ""
        with self._lock:
            open_ = [*self.state, *(name for name in self._asked if name not in self._done)]
        return open_[0] if open_ else ""

    def next(self, stream: Stream, shape: Shape) -> None:
        """Read the next piece of the wanted table in the stream's snapshot, if its columns are those of `shape`: else
        the log has to come to the change first."""
        name = shape.name
        found = {
            str(n, "utf-8").lower(): str(v, "utf-8") for n, v in _pairs(stream, "SHOW STATUS LIKE 'binlog_snapshot_%'")
        }
        literals = {"schema": _hex(shape.schema), "table": _hex(shape.table)}
        columns = [(str(n, "utf-8"), str(t, "utf-8")) for n, t in _pairs(stream, _SHAPE.format(**literals))]
        if columns != [(column.name, column.type) for column in shape.columns]:
            return
        place = Place(found["binlog_snapshot_file"], int(found["binlog_snapshot_position"]))
        ordering = Ordering(
            f"{quoted(shape.schema)}.{quoted(shape.table)}", shape.key,
            tuple(shape.columns[shape.numbers[name]].native for name in shape.key),
        )  # fmt: skip
        state = self.state.get(name) or {"last": None, "end": bounds(stream.rows(ordering.last()))}
        self._piece = self._read(stream, shape, ordering, place, state)

    def _read(self, stream: Stream, shape: Shape, ordering: Ordering, place: Place, state: dict[str, Any]) -> _Piece:
        last: Bound | None = state["last"]
        end: Bound | None = state["end"]
        if end is None:
            return _Piece(shape.name, place, decode([], shape.arrow)[0], [], None)
        upper = bounds(stream.rows(ordering.probe(last, end, _ROWS))) or end
        names = ", ".join(_plain(column) for column in shape.columns)
        cells: list[Cells] = []
        for block in stream.blocks(
            f"SELECT {names} FROM {ordering.table} WHERE {ordering.condition(last, upper)}", _ROWS
        ):
            cells += block
        rows, bad = decode(cells, shape.arrow)
        return _Piece(shape.name, place, rows, bad, None if upper == end else {"last": upper, "end": end})

    def take(self, here: Place) -> Iterator[Batch]:
        """The piece that belongs here; `state` is then what is left."""
        piece, self._piece = self._piece, None
        if piece is None:
            return
        self.state = {name: own for name, own in self.state.items() if name != piece.name}
        if piece.left is not None:
            self.state[piece.name] = piece.left
        else:
            with self._lock:
                self._done[piece.name] = here
        size = piece.rows.num_rows
        fields = [*piece.rows.schema, pa.field(OP, pa.string()), pa.field(AT, pa.timestamp("us", "UTC"))]
        arrays = [*piece.rows.columns, pa.repeat(pa.scalar("r"), size), pa.nulls(size, fields[-1].type)]
        rows = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        yield Batch(piece.name, rows, None, bad=tuple(piece.bad))


def _pairs(stream: Stream, sql: str) -> list[tuple[bytes, bytes]]:
    return [(bytes(row[0] or b""), bytes(row[1] or b"")) for row in stream.rows(sql)]


def _hex(text: str) -> str:
    return f"CONVERT(X'{text.encode().hex()}' USING utf8mb4)"


def _plain(column: ColumnInfo) -> str:
    """A column whose text the driver hands over exactly."""
    name = quoted(column.name)
    if column.native.name == "float":
        return f"CAST({name} AS DOUBLE)"
    return f"{name}+0" if column.native.name == "bit" else name
