"""Writes the changes of one stream into an open transaction of its sink, and accounts for every row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.bad_rows import BadRows
from tongqu.core.balance import added
from tongqu.core.connector import Session
from tongqu.core.data import BadRow, Counts, Deletes, WriteMode, Written
from tongqu.core.dirty import Settled
from tongqu.core.errors import BalanceError, RefusedRowsError, WriteError
from tongqu.core.kernels import pc
from tongqu.core.log import OP, UNCHANGED
from tongqu.engine.following.blocked import Blocked, keys_of
from tongqu.engine.following.first import STAMP
from tongqu.engine.following.net import Net, key_texts, lacking, layers, net, newest, plain
from tongqu.engine.following.steps import INCOMPLETE, WAITING, Shaped, Steps, known_keys, set_aside
from tongqu.kit.originals import shaped

if TYPE_CHECKING:
    from tongqu.core.data import Write
    from tongqu.engine.job import Stream

_APART = 500
"""From so many rows on those that are new are written apart."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Applying:
    """One stream's way from changes to the session. `counts` and `bad` are of the open transaction."""

    def __init__(self, stream: Stream, write: Write, steps: Steps, *, changes: bool, source_key: Sequence[str]):
        self._stream, self._write, self._steps = stream, write, steps
        self._changes, self._source_key = changes, source_key
        self.blocked = Blocked(stream, write)
        self.counts = Counts()
        self.bad = BadRows()
        self.settled: list[Settled] = []
        self._late: list[str] = []
        self._instant = _EPOCH

    def begin(self, counts: Counts) -> None:
        """A new transaction, after these counts."""
        self.counts, self.bad, self.settled, self._late = replace(counts), BadRows(), [], []
        self.blocked.begin()

    def look(self, tables: Iterable[pa.Table | None]) -> None:
        """Before a transaction with these rows: learn whether what waits of their keys has gone in meanwhile."""
        for rows in tables if self.blocked and self._steps.by_key and self._changes else ():
            keys = self._steps.keys(rows) if rows is not None else None
            if rows is None:
                self.blocked.look(None)
            elif keys is not None:
                texts = key_texts(keys, self._write.key)
                self.blocked.look(texts.filter(self.blocked.among(texts)).unique())

    def overtaken(self) -> list[Settled]:
        """After a commit: what it set aside of rows that it deleted later. They were read just now."""
        if not self._late:
            return []
        self.blocked.load()
        return self.blocked.release(pa.array(list(dict.fromkeys(self._late)), pa.string()))[0]

    def rows(self, session: Session, rows: pa.Table) -> None:
        """Write rows in the order of the log."""
        before = _sum(self.counts)
        self.counts.read += rows.num_rows
        if not self._steps.by_key:
            self._append(session, rows)
        elif not self._changes:
            self._whole(session, plain(rows))
        elif self._write.mode is WriteMode.HISTORY:  # a layer has each key once
            for layer in layers(rows, self._source_key):
                self._dated(session, layer)
                self._net(session, net(layer, self._source_key))
        else:
            if self.blocked and self._write.deletes is not Deletes.IGNORE:
                gone = self._steps.keys(rows.filter(pc.equal(rows.column(OP), "d")))
                if gone is not None:  # deleted rows may be there anew at the end of the chunk
                    self._release(key_texts(gone, self._write.key))
            apart = self._steps.follows and rows.num_rows >= _APART
            self._net(session, net(rows, self._source_key, apart=apart))
        if _sum(self.counts) != before:
            raise BalanceError(
                f"{rows.num_rows} changes came and {_sum(self.counts) - before} of them are not accounted for",
                path=self._stream.name,
                hint="nothing of this chunk was committed; please report it with the run's log",
            )

    def beside(self, bad: Sequence[BadRow], counts: Counts | None) -> None:
        """What the source refused by itself, and the numbers of work that was done inside it."""
        kept = BadRows(bad)
        self.bad.extend(kept)
        self.counts.read += kept.refused
        self.counts.quarantined += kept.refused
        if counts is not None:
            self.counts.add(counts)

    def clear(self, session: Session) -> None:
        """The source's table was emptied."""
        if not self._steps.by_key or self._write.deletes is Deletes.IGNORE:
            return
        gone = session.clear()
        self.counts.deleted += gone
        self.counts.generated += gone
        self._release(None)

    def _release(self, texts: Any | None) -> None:
        settled, late = self.blocked.release(texts)
        self.settled += settled
        self._late += late

    def _dated(self, session: Session, layer: pa.Table) -> None:
        """Versions begin when their change was committed, and later than those before."""
        at = newest(layer)
        instant = datetime.now(UTC) if at is None else _EPOCH + timedelta(microseconds=at)
        self._instant = max(instant, self._instant + timedelta(microseconds=1))
        session.dated(self._instant.isoformat(timespec="microseconds"))

    def _net(self, session: Session, found: Net) -> None:
        self.counts.merged += found.merged
        if found.gone.num_rows:  # first: a value that must be unique may have gone over to another row
            self._deleted(session, found.gone)
        for lacks, rows in found.partial:
            self._partial(session, self._free(rows, lacks), lacks)
        self._whole(session, self._free(found.whole, ()))
        if found.fresh is not None:  # last: others may have left what must be unique to them
            self._whole(session, self._free(found.fresh, ()), session.insert)

    def _free(self, rows: pa.Table, lacks: Sequence[str]) -> pa.Table:
        """The rows whose keys are not blocked; the others queue up in quarantine."""
        keys = self._steps.keys(rows) if self.blocked and rows.num_rows else None
        if keys is None:
            return rows
        texts = key_texts(keys, self._write.key)
        waits = self.blocked.among(texts)
        waiting = rows.filter(waits)
        if waiting.num_rows:
            self.blocked.behind(texts.filter(waits))
            message = "an earlier change of this row is in quarantine, and this one waits for it"
            self.bad.extend(set_aside(waiting, (WAITING, self._write.key[0], message), lacks=lacks))
            self.counts.quarantined += waiting.num_rows
        return rows.filter(pc.invert(waits))

    def _take(self, shaped_rows: Shaped) -> None:
        """Count what steps did."""
        self.bad.extend(shaped_rows.bad)
        for step in shaped_rows.steps:
            self.counts.filtered += step.filtered
            self.counts.deduplicated += step.deduplicated
            self.counts.generated += step.generated
            self.counts.quarantined += step.quarantined
            self.counts.repaired += step.repaired
        self.counts.steps = added(self.counts.steps, shaped_rows.steps)
        if shaped_rows.refused is not None and self._changes:
            self.blocked.add(self._steps.keys(shaped_rows.refused))

    def _whole(self, session: Session, rows: pa.Table, write: Callable[[pa.Table], Written] | None = None) -> None:
        if not rows.num_rows:
            return
        done = self._steps.whole(rows)
        self._take(done)
        self._write_rows(write or session.write, done.rows)
        if done.gone is not None:
            self._left(session, done.gone)

    def _write_rows(self, write: Callable[[pa.Table], Written], rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        written, counts = write(rows), self.counts
        for name in ("inserted", "updated", "deleted", "unchanged", "merged", "discarded", "bytes"):
            setattr(counts, name, getattr(counts, name) + getattr(written, name))
        counts.quarantined += len(written.refused)
        if written.refused:
            self.bad.extend(shaped(written.refused, rows.schema))
            if self._changes and self._steps.by_key:
                schema = pa.schema([rows.schema.field(name) for name in self._write.key])
                self.blocked.add(keys_of([row.original for row in written.refused], schema))

    def _partial(self, session: Session, rows: pa.Table, lacks: Sequence[str]) -> None:
        """Rows without columns that did not change: the target's rows keep them."""
        if not rows.num_rows:
            return
        done = self._steps.partial(rows, lacks)
        if not done.rows.num_rows and done.refused is not None and not done.steps:
            self.counts.quarantined += rows.num_rows
        self._take(done)
        self._amended(session, done.rows)
        if done.gone is not None:
            self._left(session, done.gone)

    def _amended(self, session: Session, rows: pa.Table) -> None:
        """Amend rows; one that the target does not have is found by halving, and cannot be made of what came."""
        if not rows.num_rows:
            return
        code, message = INCOMPLETE, "the target lacks this row, and the log did not send all of its columns"
        try:
            there = session.amend(rows)
        except RefusedRowsError as error:
            there, code, message = -1, "target.refused", error.message
        if there == rows.num_rows:
            self.counts.updated += there
        elif rows.num_rows == 1:
            absent = [field for field in self._write.dataset.schema if field.name not in rows.schema.names]
            whole = rows
            for field in absent:
                whole = whole.append_column(field, pa.nulls(1, field.type))
            lacks = [field.name for field in absent]
            cause = (code, self._write.key[0], message)
            self.bad.extend(set_aside(whole, cause, lacks=lacks, step="sink"))
            self.counts.quarantined += 1
            self.blocked.add(rows.select(list(self._write.key)))
        else:
            middle = rows.num_rows // 2
            self._amended(session, rows.slice(0, middle))
            self._amended(session, rows.slice(middle))

    def _deleted(self, session: Session, rows: pa.Table) -> None:
        if self._write.deletes is Deletes.IGNORE:
            self.counts.filtered += rows.num_rows
            return
        keys = self._steps.keys(rows)
        assert keys is not None  # noqa: S101  # refused at the start otherwise
        known = known_keys(keys)
        lost = rows.filter(pc.invert(known))
        if lost.num_rows:
            message = "the log did not send the key of a deleted row"
            self.bad.extend(set_aside(lost, (INCOMPLETE, self._write.key[0], message)))
            self.counts.quarantined += lost.num_rows
            keys = keys.filter(known)
        removed = self._removed(session, keys)
        there = min(removed, keys.num_rows)
        self.counts.deleted += removed
        self.counts.unchanged += keys.num_rows - there  # what was not there is as it should be
        self.counts.generated += removed - there
        if self.blocked:
            self._release(key_texts(keys, self._write.key))

    def _left(self, session: Session, keys: pa.Table) -> None:
        """Rows that a filter leaves out now: those that were there count as deleted, the others stay `filtered`."""
        removed = self._removed(session, keys)
        instead = min(removed, keys.num_rows)
        self.counts.deleted += removed
        self.counts.filtered -= instead
        self.counts.generated += removed - instead

    def _removed(self, session: Session, keys: pa.Table) -> int:
        try:
            return session.remove(keys) if keys.num_rows else 0
        except RefusedRowsError as error:
            raise WriteError(
                f"rows that the source deleted cannot be deleted in {self._stream.target!r}: {error.message}",
                path=self._stream.name,
                hint="take out first what refers to them, or keep deleted rows: --deletes soft or ignore",
            ) from error

    def _append(self, session: Session, rows: pa.Table) -> None:
        """Every change as a row of its own, with what happened, when, by whom, and what the log left out."""
        if not self._changes:
            self._whole(session, plain(rows))
            return
        rows = self._readable(rows)
        done = self._steps.whole(plain(rows))
        self._take(done)
        if not done.rows.num_rows:
            return
        told = rows if done.places is None else rows.take(pa.array(done.places))
        made = done.rows
        for one in STAMP:
            made = made.append_column(one, _stamp(told, one))
        self._write_rows(session.write, made)

    def _readable(self, rows: pa.Table) -> pa.Table:
        """The changes that have all columns which steps read; the others are set aside."""
        for name, mask in lacking(rows).items():
            if name in self._steps.reads and mask.any():
                message = f"the log did not send {name!r}, which did not change and which a step needs"
                bad = rows.filter(pa.array(mask))
                self.bad.extend(set_aside(plain(bad), (INCOMPLETE, name, message), lacks=[name]))
                self.counts.quarantined += bad.num_rows
                return self._readable(rows.filter(pa.array(~mask)))
        return rows


def _stamp(rows: pa.Table, field: pa.Field[Any]) -> Any:
    """What a log tells of changes, as a column of a target that keeps every one."""
    if field.name not in rows.schema.names:
        return pa.nulls(rows.num_rows, field.type)
    column = rows.column(field.name)
    if field.name != UNCHANGED:
        return column.cast(field.type)
    texts = [json.dumps(names, ensure_ascii=False) if names else None for names in column.to_pylist()]
    return pa.array(texts, field.type)


def _sum(c: Counts) -> int:
    """What must stay the same: in + generated - out."""
    return c.read + c.generated - c.written - c.filtered - c.deduplicated - c.quarantined
