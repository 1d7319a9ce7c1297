"""One split's connection to a SQL sink: load, find refused rows by bisection, commit with the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any

from tongqu.core.connector import Session
from tongqu.core.data import BadRow, Bytes, Checkpoint, Split, Written
from tongqu.core.errors import CastError, DataError, RefusedRowsError, WriteError
from tongqu.kit.faults import crash_point
from tongqu.kit.sql.db import Db
from tongqu.kit.sql.landing import Landing

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.kit.sql.sink import SqlSink

_POINT = "tongqu_rows"
_MOST_REFUSED = 5_000


class SqlSession(Session):
    """Writes one split. The transaction opens with the first write and ends with `commit` or `abort`."""

    def __init__(self, sink: SqlSink, landing: Landing, split: Split):
        self._sink = sink
        self._landing = landing
        self._split = split
        self._connection: Db | None = None
        self._has_chunk = False

    def _db(self) -> Db:
        if self._connection is None:
            self._connection = self._sink.connect()
        self._connection.begin()
        if self._landing.merges and not self._has_chunk:
            self._sink.create_chunk(self._connection, self._landing)
            self._has_chunk = True
        return self._connection

    def write(self, rows: pa.Table) -> Written:
        """See Session.write."""
        db = self._db()
        written = Written(bytes=rows.nbytes)
        rows, nameless = self._without_null_keys(rows)
        written.refused.extend(nameless)
        rows, sifted = self._sink.sift(db, self._landing, rows)
        written.refused.extend(sifted)
        loaded = self._load(db, rows, written.refused)
        crash_point("mid_write")
        if self._landing.merges:
            merged = self._sink.merge(db, self._landing, self._landing.chunk)
            self._sink.create_chunk(db, self._landing)
            merged.bytes, merged.refused = written.bytes, written.refused
            return merged
        written.inserted = loaded
        return written

    def copy_in(self, data: Bytes) -> Written:
        """See Session.copy_in."""
        db = self._db()
        size = 0

        def counted() -> Iterator[bytes | memoryview]:
            nonlocal size
            for block in chunks:
                size += len(block)
                yield block
                crash_point("mid_write")

        chunks = data.chunks
        data.chunks = counted()
        loaded = self._sink.copy_bytes(db, self._landing, data)
        if not self._landing.merges:
            return Written(inserted=loaded, bytes=size)
        written = self._sink.merge(db, self._landing, self._landing.chunk)
        self._sink.create_chunk(db, self._landing)
        written.bytes = size
        return written

    def _without_null_keys(self, rows: pa.Table) -> tuple[pa.Table, list[BadRow]]:
        key = self._landing.write.key
        if not key or not (self._landing.merges or self._landing.staged):
            return rows, []
        nulls: list[Any] = [rows.column(name).is_null() for name in key if rows.column(name).null_count]
        if not nulls:
            return rows, []
        import pyarrow.compute as pc

        bad: Any = reduce(pc.or_, nulls)
        message = f"a key column ({', '.join(key)}) is null"
        refused = [bad_row(row, "key.null", message, field=key[0]) for row in _singles(rows.filter(bad))]
        return rows.filter(pc.invert(bad)), refused

    def _load(self, db: Db, rows: pa.Table, refused: list[BadRow]) -> int:
        """Load all rows but those the target refuses, which are found by halving."""
        if rows.num_rows == 0:
            return 0
        db.savepoint(_POINT)
        try:
            loaded = self._sink.load(db, self._landing, rows)
        except (RefusedRowsError, CastError) as error:
            db.rollback_to(_POINT)
            if len(refused) >= _MOST_REFUSED:
                raise WriteError(
                    f"the target refuses more than {_MOST_REFUSED:,} rows of one chunk, the last because: {error.message}",
                    path=self._landing.write.stream,
                    hint="this is more than dirty data: compare the target's types and constraints with the source's",
                ) from error
            if rows.num_rows == 1:
                refused.append(bad_row(rows, _code(error), error.message, field=error.field))
                return 0
            middle = rows.num_rows // 2
            first = self._load(db, rows.slice(0, middle), refused)
            return first + self._load(db, rows.slice(middle), refused)
        db.release(_POINT)
        return loaded

    def commit(self, checkpoint: Checkpoint) -> None:
        """See Session.commit."""
        db = self._db()
        write = self._landing.write
        ledger = self._sink.ledger(db)
        at = self._sink.now()
        if checkpoint.quarantine:
            number = checkpoint.counts.quarantined
            first = f"{write.run}-{write.stream}-{checkpoint.split.id}-{number}"
            rows = checkpoint.quarantine
            ledger.quarantine(sync=write.sync, run=write.run, stream=write.stream, first=first, rows=rows, at=at)
        ledger.advance(write.sync, write.stream, self._landing.fence, checkpoint, at)
        crash_point("in_commit")
        db.commit()

    def abort(self) -> None:
        """See Session.abort."""
        if self._connection is not None:
            self._connection.rollback()
            self._has_chunk = False

    def close(self) -> None:
        """See Session.close."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._has_chunk = False


def _code(error: DataError) -> str:
    return "cast.invalid" if isinstance(error, CastError) else "target.refused"


def _singles(rows: pa.Table) -> list[pa.Table]:
    return [rows.slice(index, 1) for index in range(rows.num_rows)]


def bad_row(row: pa.Table, code: str, message: str, *, field: str = "", step: str = "sink") -> BadRow:
    """A one-row table as a quarantine record."""
    values = {name: _python(row.column(name)) for name in row.column_names}
    value = values.get(field)
    return BadRow(
        step=step,
        code=code,
        field=field,
        value=None if value is None else str(value),
        original=json.dumps(values, ensure_ascii=False, default=str),
        message=message,
    )


def _python(column: pa.ChunkedArray[Any]) -> Any:
    """The one value of a column; its text where Python has no such date or resolution."""
    try:
        return column[0].as_py()
    except (ValueError, OverflowError):
        import pyarrow as pa

        return str(column.cast(pa.string())[0].as_py())
