"""Writes one split into MongoDB: many documents a command, and what the server refuses of them into quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.connectors.mongodb.db import ConflictError, MongodbDb, RefusedDocumentError
from tongqu.connectors.mongodb.failing import refusal
from tongqu.connectors.mongodb.keyed import not_ours
from tongqu.connectors.mongodb.target import place, token
from tongqu.core.connector import Session
from tongqu.core.data import Checkpoint, Deletes, Split, WriteMode, Written
from tongqu.core.errors import CastError, ConnectError, RefusedRowsError, SupersededError, WriteError
from tongqu.kit.db import Db
from tongqu.kit.faults import crash_point
from tongqu.kit.sql.landing import Landing
from tongqu.kit.sql.session import SqlSession, bad_row

if TYPE_CHECKING:
    from tongqu.connectors.mongodb.sink import MongodbSink

_POINT = "rows"
_AT_ONCE = 1_000
_MOST_REFUSED = 5_000


class MongodbSession(SqlSession):
    """Rows of a chunk are in the server's transaction; where there is none each is written so that it can be written
    again."""

    def __init__(self, sink: MongodbSink, landing: Landing, split: Split):
        super().__init__(sink, landing, split)
        self._own_sink = sink
        self._token = token(landing.write, split)
        self._next: int | None = None

    def _db(self, *, chunk: bool = True) -> Db:
        db = super()._db(chunk=chunk)
        assert isinstance(db, MongodbDb)  # noqa: S101  # the sink makes them
        db.register(self._landing.write.sync)
        return db

    def write(self, rows: pa.Table) -> Written:
        """See Session.write."""
        try:
            return super().write(rows)
        except ConflictError as error:
            raise ConnectError(error.message, path=error.path, hint=error.hint) from None

    def commit(self, checkpoint: Checkpoint) -> None:
        """See Session.commit."""
        try:
            super().commit(checkpoint)
        except ConflictError as error:
            raise ConnectError(error.message, path=error.path, hint=error.hint) from None
        self._next = checkpoint.counts.read + checkpoint.counts.generated

    def amend(self, rows: pa.Table) -> int:
        """See Session.amend: not here."""
        return Session.amend(self, rows)

    def clear(self) -> int:
        """See Session.clear: not here."""
        return Session.clear(self)

    def abort(self) -> None:
        """See Session.abort."""
        super().abort()
        self._next = None

    def _put(self, db: Db, rows: pa.Table, written: Written) -> None:
        """Write all rows but those that the server refuses; it says which those are."""
        assert isinstance(db, MongodbDb)  # noqa: S101  # the sink makes them
        if rows.num_rows == 0:
            return
        write = self._landing.write
        if not db.transactional:
            self._own_sink.ledger(db).hold(write.sync, write.stream, self._landing.fence)
        if write.replay and self._landing.merges:
            rows = self._without_outdated(db, rows, written)
        rows = self._fitting(rows, written)
        db.savepoint(_POINT)
        while rows.num_rows:
            try:
                self._apply(db, rows, written)
                return
            except RefusedDocumentError as error:
                bad = self._refused(db, rows, error)
            if len(written.refused) + len(bad) > _MOST_REFUSED:
                raise WriteError(
                    f"the target refuses more than {_MOST_REFUSED:,} rows of one chunk", path=write.stream,
                    hint="this is more than dirty data: look at the target's validator and unique indexes",
                )  # fmt: skip
            rows = self._without(rows, bad, written)
            db.rollback_to(_POINT)

    def _apply(self, db: MongodbDb, rows: pa.Table, written: Written) -> None:
        if self._landing.merges:
            kept = rows if self._landing.write.unique else self._form.last_of_each(rows)
            merged = rows.num_rows - kept.num_rows
            replies = db.send(place(self._landing), "update", "updates", self._form.updates(kept))
            crash_point("mid_write")
            new, changed, refused = _told(replies)
            written.merged += merged
            written.inserted += new
            written.updated += changed
            written.unchanged += kept.num_rows - new - changed - len(refused)
            self._without(kept, refused, written)
            return
        first = self._number(db)
        if self._landing.staged and self._landing.write.mode is not WriteMode.REPLACE and self._landing.write.key:
            replies = db.send(
                self._landing.into, "update", "updates", self._form.replacements(rows, self._token, first)
            )
            refused = _told(replies)[2]
        else:
            documents = self._form.inserts(rows, self._token, first)
            replies = db.send(self._landing.into, "insert", "documents", documents)
            refused = not_ours(db, self._landing.into, documents, _told(replies)[2])
        self._next = first + rows.num_rows
        crash_point("mid_write")
        written.inserted += rows.num_rows - len(refused)
        self._without(rows, refused, written)

    @property
    def _form(self) -> Any:
        return self._own_sink.form(self._landing)

    def _number(self, db: MongodbDb) -> int:
        """The number of the next row, which is the same when the rows come again."""
        if self._next is None:
            write = self._landing.write
            head = self._own_sink.ledger(db).head(write.sync, write.stream, self._split.id)
            self._next = head.counts.read + head.counts.generated if head else 0
        return self._next

    def _fitting(self, rows: pa.Table, written: Written) -> pa.Table:
        """The rows without those that BSON cannot hold, found by halving."""
        try:
            self._form.parts(rows)
        except CastError as error:
            if rows.num_rows == 1:
                written.refused.append(bad_row(rows, "cast.invalid", error.message, field=error.field))
                return rows.slice(0, 0)
            middle = rows.num_rows // 2
            halves = [self._fitting(rows.slice(0, middle), written), self._fitting(rows.slice(middle), written)]
            return pa.concat_tables(halves)
        return rows

    def _refused(self, db: MongodbDb, rows: pa.Table, error: RefusedDocumentError) -> dict[int, RefusedRowsError]:
        """In a transaction: what the server refuses of the rows, tried out in slices in transactions that are undone,
        since each ends with the first refusal."""
        kept = rows if not self._landing.merges or self._landing.write.unique else self._form.last_of_each(rows)
        if kept.num_rows != rows.num_rows:
            numbers = self._positions(rows, kept)
            return {numbers[error.index]: error}
        found: dict[int, RefusedRowsError] = {error.index: error}
        db.abandon()
        begun, trial = self._next, MongodbDb(db.reach)
        try:
            for start in range(error.index - error.index % _AT_ONCE, rows.num_rows, _AT_ONCE):
                if len(found) > _MOST_REFUSED:
                    break
                while True:
                    left = [n for n in range(start, min(start + _AT_ONCE, rows.num_rows)) if n not in found]
                    trial.begin()
                    try:
                        if left:
                            self._apply(trial, rows.take(pa.array(left)), Written())
                        break
                    except RefusedDocumentError as another:
                        found[left[another.index]] = another
                    finally:
                        trial.rollback()
                        self._next = begun
        finally:
            trial.close()
        return found

    def _positions(self, rows: pa.Table, kept: pa.Table) -> list[int]:
        """Where the rows that are kept stood."""
        numbered = rows.append_column("\0number", pa.array(range(rows.num_rows)))
        listed: list[int] = self._form.last_of_each(numbered).column("\0number").to_pylist()
        assert len(listed) == kept.num_rows  # noqa: S101  # the same rows are kept
        return listed

    def _without(self, rows: pa.Table, bad: Mapping[int, RefusedRowsError], written: Written) -> pa.Table:
        """The rows that are left; the others go into quarantine."""
        if not bad:
            return rows
        for index in sorted(bad):
            error = bad[index]
            written.refused.append(bad_row(rows.slice(index, 1), "target.refused", error.message, field=error.field))
        return rows.take(pa.array([n for n in range(rows.num_rows) if n not in bad], pa.int64()))

    def _without_outdated(self, db: MongodbDb, rows: pa.Table, written: Written) -> pa.Table:
        """The rows without those of which the target has a newer one."""
        older = self._own_sink.older(db, self._landing, rows)
        what = ", ".join(self._landing.write.key)
        for index in older:
            error = SupersededError(f"the target has a newer row of this {what}")
            written.refused.append(bad_row(rows.slice(index, 1), error.code, error.message))
        return rows.take(pa.array([n for n in range(rows.num_rows) if n not in older], pa.int64())) if older else rows

    def remove(self, rows: pa.Table) -> int:
        """See Session.remove."""
        db = self._db()
        assert isinstance(db, MongodbDb)  # noqa: S101  # the sink makes them
        soft = self._landing.write.deletes is Deletes.SOFT
        return self._own_sink.take_out(db, self._landing, rows, soft=soft)


def _told(replies: list[Mapping[str, Any]]) -> tuple[int, int, dict[int, RefusedRowsError]]:
    """How many documents were made and changed, and which were refused."""
    new = sum(len(reply.get("upserted", ())) for reply in replies)
    changed = sum(int(reply.get("nModified", 0)) for reply in replies)
    errors = [error for reply in replies for error in reply.get("writeErrors", ())]
    return new, changed, {int(error["index"]): refusal(error) for error in errors}
