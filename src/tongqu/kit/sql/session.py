"""One split's connection to a SQL sink: load, find refused rows by bisection, commit with the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from tongqu.core.connector import Session
from tongqu.core.data import BadRow, Bytes, Checkpoint, Counts, Deletes, Split, WriteMode, Written
from tongqu.core.errors import CastError, DataError, NotFoundError, RefusedRowsError, SupersededError, WriteError
from tongqu.kit.db import Db
from tongqu.kit.faults import crash_point
from tongqu.kit.ledger import Ledger
from tongqu.kit.sql.amending import amended
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
        self._stale = False
        """Whether the chunk's table may hold rows that were merged."""
        self._marks = False
        """Whether the target is known to have the column for marks."""
        self._inserts: bool | None = None
        """Whether new rows can be loaded into the target itself; None while nobody knows."""
        self._clean = False
        """Whether the connection has no open transaction, so another session may have it."""

    def _db(self, *, chunk: bool = True) -> Db:
        """The connection in a transaction; with `chunk` there is a table for the chunk of a merge."""
        db = self._leased()
        db.begin()
        if chunk and self._landing.merges and not self._has_chunk:
            self._empty(db)
        return db

    def _leased(self) -> Db:
        if self._connection is None:
            self._connection = self._sink.lease()
        self._clean = False
        return self._connection

    def _empty(self, db: Db) -> None:
        """Create the chunk's table, or empty it."""
        self._sink.create_chunk(db, self._landing)
        self._has_chunk, self._stale = True, False

    def _fill(self, db: Db, rows: pa.Table) -> int:
        """Load rows into the emptied chunk's table, or where they go without one."""
        if self._stale:
            self._empty(db)
        self._stale = self._landing.merges
        return self._sink.load(db, self._landing, rows)

    def write(self, rows: pa.Table) -> Written:
        """See Session.write."""
        few = self._sink.upsert_few(self._leased(), self._landing, rows)
        if few is not None:
            crash_point("mid_write")
            return few
        db = self._db()
        written = Written(bytes=rows.nbytes)
        if self._landing.sieving:
            from tongqu.kit.sieve import sieved

            rows = sieved(self._landing.sieving, rows, written)
        rows, nameless = self._without_null_keys(rows)
        written.refused.extend(nameless)
        rows, sifted = self._sink.sift(db, self._landing, rows)
        written.refused.extend(sifted)
        with self._still_ours():
            self._put(db, rows, written)
        return written

    def insert(self, rows: pa.Table) -> Written:
        """See Session.insert: loads them into the target itself, and merges them if one is there or is refused."""
        landing, db = self._landing, self._db()
        upserts = landing.merges and landing.write.mode is WriteMode.UPSERT and not landing.write.replay
        if self._inserts is None:
            self._inserts = upserts and not landing.sieving and self._sink.inserts(db, landing)
        if not self._inserts or not rows.num_rows:
            return self.write(rows)
        db.savepoint(_POINT)
        try:
            loaded = self._sink.insert(db, landing, rows)
            crash_point("mid_write")
        except (RefusedRowsError, CastError):
            db.rollback_to(_POINT)
            return self.write(rows)
        db.release(_POINT)
        return Written(inserted=loaded, unchanged=rows.num_rows - loaded, bytes=rows.nbytes)

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
        if self._stale:
            self._empty(db)
        with self._still_ours():
            loaded = self._sink.copy_bytes(db, self._landing, data)
            written = self._merged(db) if self._landing.merges else Written(inserted=loaded)
        written.bytes = int(data.options.get("size", size))
        return written

    def remove(self, rows: pa.Table) -> int:
        """See Session.remove."""
        few = self._sink.remove_few(self._leased(), self._landing, rows)
        if few is not None:
            return few
        db, write = self._db(), self._landing.write
        if write.deletes is Deletes.SOFT and write.mode is not WriteMode.HISTORY:
            self._nothing(db)
        with self._still_ours():
            rows, _ = self._sink.sift(db, self._landing, rows)
            return self._taken_out(db, rows)

    def amend(self, rows: pa.Table) -> int:
        """See Session.amend. Raises RefusedRowsError if the target refuses any; then nothing of them is changed."""
        db, landing = self._db(), self._landing
        kept = [name for name in rows.column_names if name in landing.types and name not in landing.sieving.columns]
        rows = rows.select(kept)
        if rows.num_rows == 0:
            return 0
        with self._still_ours():
            db.savepoint(_POINT)
            try:
                rows, sifted = self._sink.sift(db, landing, rows)
                if sifted:
                    raise RefusedRowsError(sifted[0].message, path=landing.write.stream, field=sifted[0].field)
                self._fill(db, rows)
                done = amended(self._sink, db, landing, kept, rows.num_rows)
            except (RefusedRowsError, CastError):
                db.rollback_to(_POINT)
                self._empty(db)
                raise
            db.release(_POINT)
        return done

    def clear(self) -> int:
        """See Session.clear."""
        db, landing = self._db(), self._landing
        if landing.write.deletes is Deletes.SOFT and landing.write.mode is not WriteMode.HISTORY:
            self._nothing(db)
        target, _, _ = self._sink.places(db, landing)
        return self._sink.clear(db, landing, target)

    def dated(self, instant: str) -> None:
        """See Session.dated."""
        self._landing = replace(self._landing, write=replace(self._landing.write, started_at=instant))

    def _taken_out(self, db: Db, rows: pa.Table) -> int:
        """Take the rows of these keys out; a key that the target cannot hold is found by halving, and is not there."""
        if rows.num_rows == 0:
            return 0
        write = self._landing.write
        db.savepoint(_POINT)
        try:
            self._fill(db, rows)
        except (RefusedRowsError, CastError):
            db.rollback_to(_POINT)
            self._empty(db)
            middle = rows.num_rows // 2
            halves = (rows.slice(0, middle), rows.slice(middle)) if middle else ()
            return sum(self._taken_out(db, half) for half in halves)
        db.release(_POINT)
        target, chunk, _ = self._sink.places(db, self._landing)
        if write.mode is WriteMode.HISTORY or write.deletes is Deletes.SOFT:
            done = self._sink.retire(db, self._landing, target, chunk)
        else:
            done = self._sink.remove(db, target, chunk, write.key)
        return done

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
        """Merge the chunk's table, which is emptied before it is filled again."""
        self._stale = True
        return self._sink.merge(db, self._landing, self._landing.chunk)

    def _nothing(self, db: Db) -> None:
        """Merge no rows: that gives a target without the column for marks that column."""
        if not self._marks:
            self._empty(db)
            self._merged(db)
            self._marks = True

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
            loaded = self._fill(db, rows)
            if self._landing.write.replay and self._landing.merges and self._sink.outdated(db, self._landing):
                raise SupersededError(f"the target has a newer row of this {', '.join(self._landing.write.key)}")
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
            self._empty(db)
        if rows.num_rows == 1:
            written.refused.append(bad_row(rows, _code(error), error.message, field=error.field))
            return
        middle = rows.num_rows // 2
        self._put(db, rows.slice(0, middle), written)
        self._put(db, rows.slice(middle), written)

    def set_aside(self, rows: Sequence[BadRow], counts: Counts) -> bool:
        """See Session.set_aside."""
        self._quarantine(self._sink.ledger(self._db()), rows, counts, self._sink.now())
        return True

    def _quarantine(self, ledger: Ledger, rows: Sequence[BadRow], counts: Counts, at: str) -> None:
        """Rows stored later have greater numbers, also after a crash, since the counts grow with them."""
        write = self._landing.write
        first = f"{write.run}-{write.stream}-{self._split.id}-{counts.quarantined + counts.repaired:09d}"
        ledger.quarantine.add(sync=write.sync, run=write.run, stream=write.stream, first=first, rows=rows, at=at)

    def commit(self, checkpoint: Checkpoint) -> None:
        """See Session.commit."""
        db = self._db(chunk=False)
        write = self._landing.write
        ledger = self._sink.ledger(db)
        at = self._sink.now()
        if checkpoint.quarantine:
            self._quarantine(ledger, checkpoint.quarantine, checkpoint.counts, at)
        if checkpoint.settled:
            ledger.quarantine.settle(checkpoint.settled)
        if checkpoint.relaxed or (self._landing.staged and not checkpoint.done):
            db.relax()  # nobody sees the rows yet, and whoever loses them goes on from the checkpoint lost with them
        fence = self._landing.claims.get(checkpoint.split.id, self._landing.fence)
        ledger.commit(write.sync, write.stream, fence, checkpoint, at)
        self._clean = True
        self._stale = self._stale and not self._sink.commit_empties

    def abort(self) -> None:
        """See Session.abort."""
        if self._connection is not None:
            self._connection.rollback()
            self._has_chunk = self._stale = self._marks = False

    def close(self) -> None:
        """See Session.close."""
        if self._connection is not None:
            if self._clean:
                self._sink.give_back(self._connection)
            else:
                self._connection.close()
            self._connection = None
            self._has_chunk = self._stale = False


def _code(error: DataError) -> str:
    if isinstance(error, SupersededError):
        return error.code
    return "cast.invalid" if isinstance(error, CastError) else "target.refused"


def _singles(rows: pa.Table) -> list[pa.Table]:
    return [rows.slice(index, 1) for index in range(rows.num_rows)]


def bad_row(row: pa.Table, code: str, message: str, *, field: str = "", step: str = "sink") -> BadRow:
    """A one-row table as a quarantine record."""
    from tongqu.kit.originals import originals, shape_of, shown

    value = shown(row.column(field))[0] if field in row.column_names else None
    return BadRow(
        step=step,
        code=code,
        field=field,
        value=value,
        original=originals(row)[0],
        message=message,
        shape=shape_of(row.schema),
    )
