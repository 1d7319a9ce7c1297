"""Moves one split: read, apply, write, commit with the position, acknowledge; survives lost connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from tongqu.core.bad_rows import BadRows
from tongqu.core.balance import added
from tongqu.core.connector import Session
from tongqu.core.data import BadRow, Batch, Bytes, Checkpoint, Counts, Lane, Position, Read, Write, WriteMode, Written
from tongqu.core.errors import (
    BalanceError,
    CancelledError,
    QualityError,
    ReadError,
    RefusedRowsError,
    TongquError,
    WriteError,
    altered,
)
from tongqu.core.events import Committed, Emit, LaneChanged, Retrying
from tongqu.engine.ahead import ahead
from tongqu.engine.chunk import Chunk
from tongqu.engine.job import Limits, Stream, Surroundings
from tongqu.engine.lanes import Route
from tongqu.engine.leaving import Leaving, Trail, leaving
from tongqu.kit.faults import crash_point

if TYPE_CHECKING:
    from pyarrow import Table

_PART_ROWS = 65_536
_MERGED_ROWS = 25_000
"""Raw bytes that are merged by key come in pieces of so many rows, so that the next is read while one is merged; a
chunk that is committed holds several."""
_DIRTY_ROWS = 8_192
_KEPT_ROWS = 8_192
"""So many refused rows wait in memory for the commit of their chunk; more are stored before, where the sink can."""


class Tally:
    """A stream's counts over all its splits and attempts; safe to use from their threads."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._by_split: dict[str, Counts] = {}
        self._lock = Lock()

    def set(self, split: str, counts: Counts) -> Counts:
        """Note a split's totals; returns the stream's."""
        with self._lock:
            self._by_split[split] = replace(counts)
            return self._total()

    def total(self) -> Counts:
        """The stream's totals."""
        with self._lock:
            return self._total()

    def _total(self) -> Counts:
        total = Counts()
        for counts in self._by_split.values():
            total.add(counts)
        return total

    def check(self, total: Counts, *, ended: bool) -> None:
        """Raise QualityError if more rows are quarantined than allowed; a share needs 1,000 rows or the end."""
        limit, share = self._limits.quarantined, self._limits.quarantined_share
        over = limit is not None and total.quarantined > limit
        enough = ended or total.read >= 1000
        over_share = share is not None and enough and total.quarantined > share * max(total.read, 1)
        if over or over_share:
            allowed = f"{limit} rows" if over else f"{share:.2%} of the rows"
            raise QualityError(
                f"{total.quarantined} of {total.read} rows were quarantined; allowed are {allowed}",
                hint="look at them with `tongqu quarantine list`, mend the source or the rule, and run again "
                "(with --restart where rows are written straight into the target)",
            )


@dataclass
class Pump:
    """Carries one stream's splits. `move` may be called from several threads, once per split."""

    stream: Stream
    write: Write
    route: Route
    limits: Limits
    tally: Tally
    emit: Emit
    around: Surroundings

    def __post_init__(self) -> None:
        found = leaving(self.stream, self.write)
        self._leaving = found if isinstance(found, Leaving) else None
        self._dirty = True
        """Whether more than a quarter of the rows that came last were bad, as is to be feared before the first came."""

    def move(self, checkpoint: Checkpoint) -> None:
        """Bring one split to its end, or return early when stopping was asked for."""
        if not self.stream.valves:
            self._move(checkpoint)
            return
        from tongqu.engine.governing import slots

        with slots(self.stream.valves, self.around.stop):
            self._move(checkpoint)

    def _move(self, checkpoint: Checkpoint) -> None:
        failures, since = 0, None
        while not checkpoint.done and not self.around.stop.is_set():
            before = checkpoint.position
            session = self.stream.sink.session(self.write, checkpoint.split)
            try:
                checkpoint = self._go_on(session, checkpoint)
            except TongquError as error:
                session.close()
                if not error.retryable:
                    raise
                since = since or self.around.now()
                stored = self._stored(checkpoint, error, failures, since)
                failures += 1
                if stored.position != before:  # it got further: the next failure is a new one
                    failures, since = 0, None
                checkpoint = stored
                self.tally.set(checkpoint.split.id, checkpoint.counts)
            finally:
                session.close()

    def _stored(self, checkpoint: Checkpoint, error: TongquError, failures: int, since: datetime) -> Checkpoint:
        """The split's stored checkpoint once the sink answers again; the commit whose reply was lost is in it."""
        while True:
            waited = (self.around.now() - since).total_seconds()
            if failures >= self.limits.retries or waited > self.limits.retry_seconds:
                raise error
            delay = min(0.2 * 2**failures, 5.0)
            self.emit(
                Retrying(self.write.run, self.stream.name, checkpoint.split.id, error.message, failures + 1, delay)
            )
            if self.around.wait(delay):
                raise CancelledError("stopped while waiting to try again") from error
            failures += 1
            try:
                opened = self.stream.sink.reopen(self.write)
            except TongquError as again:
                if not again.retryable:
                    raise
                error = again
                continue
            return opened.checkpoints[checkpoint.split.id]

    def _go_on(self, session: Session, checkpoint: Checkpoint) -> Checkpoint:
        if self.route.lane is not Lane.PASS:
            return self._columnar(session, checkpoint, None)
        while not checkpoint.done and not self.around.stop.is_set():
            checkpoint, refused = self._pass(session, checkpoint)
            if refused is not None:
                checkpoint = self._columnar(session, checkpoint, refused)
        return checkpoint

    def _read(self, checkpoint: Checkpoint, until: Position | None) -> Read:
        return Read(
            dataset=self.stream.source_dataset,
            split=checkpoint.split,
            after=checkpoint.position,
            until=until,
            mode=self.stream.mode,
            cursor=self.stream.cursor,
            ties=bool(self.write.key) and self.write.mode.value in ("upsert", "history"),
            batch_rows=min(self.limits.batch_rows, self.limits.chunk_rows),
            chunk_rows=self._at_once(self.limits.chunk_rows),
            stop=self.around.stop,
        )

    def _at_once(self, rows: int) -> int:
        """So many rows, or as many as the valves would have a system asked for at once."""
        return min([rows, *(valve.chunk_rows for valve in self.stream.valves if valve.chunk_rows)])

    # ---- pass lane

    def _pass(self, session: Session, checkpoint: Checkpoint) -> tuple[Checkpoint, Position | None]:
        """Go on in raw bytes; returns early with the position up to which a refused chunk reaches."""
        assert self.route.select is not None  # noqa: S101  # the pass lane's route always has one
        whole = self.limits.chunk_rows
        rows = min(whole, _MERGED_ROWS) if self.write.mode in (WriteMode.UPSERT, WriteMode.HISTORY) else whole
        rows = self._at_once(rows)
        read = replace(self._read(checkpoint, None), chunk_rows=rows)
        pieces = self.stream.source.copy_out(read, self.route.select, self.route.format)
        if self.stream.valves:
            from tongqu.engine.governing import paced_bytes

            pieces = paced_bytes(pieces, self.stream.valves, self.around.stop)
        counts, waiting = checkpoint.counts, 0
        with closing(_generator(pieces)) as chunks:
            for piece in chunks:
                crash_point("after_read")
                try:
                    counts = self._copy(session, piece, counts)
                except RefusedRowsError as error:
                    session.abort()
                    self.emit(LaneChanged(self.write.run, self.stream.name, checkpoint.split.id, error.message))
                    return checkpoint, piece.position
                waiting += piece.read()
                if rows == whole or waiting >= whole or piece.last or self.around.stop.is_set():
                    checkpoint = self._commit(session, checkpoint, piece.position, counts, (), done=piece.last)
                    counts, waiting = checkpoint.counts, 0
                if checkpoint.done or self.around.stop.is_set():
                    break
        return checkpoint, None

    def _copy(self, session: Session, piece: Bytes, so_far: Counts) -> Counts:
        written = session.copy_in(piece)
        rows, read = piece.rows(), piece.read()
        counts = replace(so_far)
        counts.read += read
        counts.filtered += read - rows
        if self.stream.chain is not None:
            counts.steps = added(counts.steps, self.stream.chain.pushed(read, rows))
        self._count(counts, written, rows)
        return counts

    # ---- columnar and python lanes

    def _columnar(self, session: Session, checkpoint: Checkpoint, until: Position | None) -> Checkpoint:
        """Go on in Arrow batches, up to `until` or the end."""
        chain = self.stream.chain.fork() if self.stream.chain is not None else None
        chunk = Chunk(replace(checkpoint.counts))
        found = self.stream.source.read(self._read(checkpoint, until))
        if self.stream.valves:
            from tongqu.engine.governing import paced

            found = paced(found, self.stream.valves, self.around.stop)
        batches = ahead(found, self.around.stop)
        with closing(batches):
            for batch in batches:
                self._as_planned(batch)
                chunk.take(batch)
                if chunk.waiting >= _PART_ROWS or batch.position is not None:
                    self._apply(session, chain, chunk)
                if batch.position is None:
                    continue
                end = bool(batch.position.get("end")) or batch.position == until
                if end or chunk.full(self.limits.chunk_rows) or self.around.stop.is_set():
                    done = bool(batch.position.get("end"))
                    checkpoint = self._commit(session, checkpoint, batch.position, chunk.counts, chunk.bad, done=done)
                    chunk = Chunk(replace(chunk.counts))
                    if end or self.around.stop.is_set():
                        return checkpoint
        if self.around.stop.is_set():
            session.abort()
            return checkpoint
        if until is None:
            raise ReadError(
                "the source stopped giving rows without saying that it had come to the end",
                path=self.stream.name,
                hint="nothing of the open chunk was committed; run again, and report it if it stays",
            )
        self._apply(session, chain, chunk)
        return self._commit(session, checkpoint, until, chunk.counts, chunk.bad, done=bool(until.get("end")))

    def put(self, session: Session, chain: Any, checkpoint: Checkpoint, batch: Batch) -> Checkpoint:
        """Apply one batch and commit it with its position."""
        assert batch.position is not None  # noqa: S101  # whoever calls has waited for one
        self._as_planned(batch)
        chunk = Chunk(replace(checkpoint.counts))
        chunk.take(batch)
        self._apply(session, chain, chunk)
        return self._commit(session, checkpoint, batch.position, chunk.counts, chunk.bad, done=False)

    def _as_planned(self, batch: Batch) -> None:
        """Raise SchemaError for rows of another schema than was discovered: the source was altered meanwhile."""
        planned, came = self.stream.source_dataset.schema, batch.rows.schema
        if batch.kind == "rows" and (came.names != planned.names or came.types != planned.types):
            differ = sorted(set(map(str, came)) ^ set(map(str, planned))) or list(came.names)
            raise altered(self.stream.source_dataset.name, ", ".join(differ))

    def _apply(self, session: Session, chain: Any, chunk: Chunk) -> None:
        """Transform what waits and write it into the open transaction; after many bad rows, whose records are large, in
        smaller parts."""
        if not chunk.waiting:
            return
        from pyarrow import Table

        rows = Table.from_batches(chunk.parts)
        chunk.parts, chunk.waiting = [], 0
        start = 0
        while start < rows.num_rows:
            part = rows.slice(start, _DIRTY_ROWS if self._dirty else None)
            before = chunk.counts.quarantined
            self._part(session, chain, chunk, part)
            self._dirty = (chunk.counts.quarantined - before) * 4 > part.num_rows
            start += part.num_rows

    def _part(self, session: Session, chain: Any, chunk: Chunk, rows: Table) -> None:
        counts = chunk.counts
        gone: Table | None = None
        if chain is not None:
            trail = Trail(rows.num_rows) if self._leaving else None
            result = chain.run(rows, trail)
            if self._leaving and trail:
                gone = self._leaving.keys(rows, trail)
            rows = result.rows
            chunk.bad.extend(result.bad)
            for step in result.steps:
                counts.filtered += step.filtered
                counts.deduplicated += step.deduplicated
                counts.generated += step.generated
                counts.quarantined += step.quarantined
                counts.repaired += step.repaired
            counts.steps = added(counts.steps, result.steps)
        if rows.num_rows:
            written = session.write(rows)
            self._count(counts, written, rows.num_rows)
            if written.refused:
                from tongqu.kit.originals import shaped

                chunk.bad.extend(shaped(written.refused, rows.schema))
        if gone is not None:
            self._remove(session, gone, counts)
        if len(chunk.bad) >= _KEPT_ROWS and session.set_aside(chunk.bad, counts):
            chunk.bad = BadRows()

    def _remove(self, session: Session, gone: Table, counts: Counts) -> None:
        """Take rows that left a filter out of the target. Those that were there count as deleted at the sink, the
        others stay `filtered`."""
        try:
            removed = session.remove(gone)
        except RefusedRowsError as error:
            raise WriteError(
                f"rows that left a filter cannot be deleted in {self.stream.target!r}: {error.message}",
                path=self.stream.name,
                hint="take out first what refers to them, or say `leaving: keep` in the sink",
            ) from error
        instead = min(removed, gone.num_rows)
        counts.deleted += removed
        counts.filtered -= instead
        counts.generated += removed - instead

    # ---- both

    def _count(self, counts: Counts, written: Written, rows: int) -> None:
        """Add a sink's numbers; they must account for every row that went in."""
        total = written.inserted + written.updated + written.deleted + written.unchanged + written.merged
        if total + len(written.refused) != rows:
            raise BalanceError(
                f"{rows} rows went into the sink and it accounts for {total + len(written.refused)}",
                path=self.stream.name,
                hint="nothing of this chunk was committed; please report it with the run's log",
            )
        counts.inserted += written.inserted
        counts.updated += written.updated
        counts.deleted += written.deleted
        counts.unchanged += written.unchanged
        counts.merged += written.merged
        counts.quarantined += len(written.refused)
        counts.discarded += written.discarded
        counts.bytes += written.bytes

    def _commit(
        self,
        session: Session,
        checkpoint: Checkpoint,
        position: Position,
        counts: Counts,
        bad: Sequence[BadRow],
        *,
        done: bool,
    ) -> Checkpoint:
        crash_point("before_commit")
        stepped = Checkpoint(checkpoint.split, position, counts, done, bad)
        session.commit(stepped)
        crash_point("after_commit")
        total = self.tally.set(checkpoint.split.id, counts)
        self.stream.source.acknowledge(checkpoint.split, position)
        crash_point("after_acknowledge")
        self.emit(Committed(self.write.run, self.stream.name, checkpoint.split.id, total))
        self.tally.check(total, ended=False)
        for valve in self.stream.valves:
            valve.rest(self.around.stop)
        return replace(stepped, quarantine=())


def _generator(pieces: Iterator[Bytes]) -> Any:
    """The iterator with a `close`, whatever it is."""
    return (piece for piece in pieces)
