"""One split's connection to a SQL sink: load, find refused rows by bisection, commit with the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import TYPE_CHECKING, Any

from tongqu.core.connector import Session
from tongqu.core.data import BadRow, Bytes, Checkpoint, Split, Written
from tongqu.core.errors import CastError, DataError, NotFoundError, RefusedRowsError, WriteError
from tongqu.kit.db import Db
from tongqu.kit.faults import crash_point
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
        self._clean = False
        """Whether the connection has no open transaction, so another session may have it."""

    def _db(self) -> Db:
        if self._connection is None:
            self._connection = self._sink.lease()
        self._clean = False
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
        with self._still_ours():
            self._put(db, rows, written)
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
        with self._still_ours():
            loaded = self._sink.copy_bytes(db, self._landing, data)
            written = self._merged(db) if self._landing.merges else Written(inserted=loaded)
        written.bytes = size
        return written

    @contextmanager
    def _still_ours(self) -> Iterator[None]:
        """A staged generation that has vanished was taken over by another process: FencedError, not NotFoundError."""
        try:
            yield
        except NotFoundError:
            self.abort()
            self._sink.reopen(self._landing.write)
            raise

    def _merged(self, db: Db) -> Written:
        """Merge the chunk's table and empty it."""
        written = self._sink.merge(db, self._landing, self._landing.chunk)
        self._sink.create_chunk(db, self._landing)
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

    def _put(self, db: Db, rows: pa.Table, written: Written) -> None:
        """Load and merge all rows but those the target refuses, which are found by halving."""
        if rows.num_rows == 0:
            return
        db.savepoint(_POINT)
        try:
            loaded = self._sink.load(db, self._landing, rows)
            crash_point("mid_write")
            done = self._merged(db) if self._landing.merges else Written(inserted=loaded)
        except (RefusedRowsError, CastError) as error:
            db.rollback_to(_POINT)
            self._refuse(db, rows, written, error)
            return
        db.release(_POINT)
        for name in ("inserted", "updated", "deleted", "unchanged", "merged"):
            setattr(written, name, getattr(written, name) + getattr(done, name))

    def _refuse(self, db: Db, rows: pa.Table, written: Written, error: DataError) -> None:
        """Quarantine the row, or try both halves of several."""
        if len(written.refused) >= _MOST_REFUSED:
            raise WriteError(
                f"the target refuses more than {_MOST_REFUSED:,} rows of one chunk, the last because: {error.message}",
                path=self._landing.write.stream,
                hint="this is more than dirty data: compare the target's types and constraints with the source's",
            ) from error
        if self._landing.merges:
            self._sink.create_chunk(db, self._landing)
        if rows.num_rows == 1:
            written.refused.append(bad_row(rows, _code(error), error.message, field=error.field))
            return
        middle = rows.num_rows // 2
        self._put(db, rows.slice(0, middle), written)
        self._put(db, rows.slice(middle), written)

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
        if self._landing.staged and not checkpoint.done:
            db.relax()  # nobody sees the rows yet, and whoever loses them goes on from the checkpoint lost with them
        crash_point("in_commit")
        db.commit()
        self._clean = True

    def abort(self) -> None:
        """See Session.abort."""
        if self._connection is not None:
            self._connection.rollback()
            self._has_chunk = False

    def close(self) -> None:
        """See Session.close."""
        if self._connection is not None:
            if self._clean:
                self._sink.give_back(self._connection)
            else:
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
