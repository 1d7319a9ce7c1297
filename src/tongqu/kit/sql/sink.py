"""The state machine of every SQL sink: fence, staged generations, exactly-once commits; systems fill in the verbs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from tongqu.core.data import Counts, Opened, Position, Split, Started, Write, WriteMode, Written
from tongqu.core.errors import ConnectError, DataError, InvalidPlanError, RefusedRowsError, SchemaError, TongquError
from tongqu.kit.db import Db
from tongqu.kit.faults import crash_point
from tongqu.kit.ledger import CHECKPOINT, Head, Ledger, fenced
from tongqu.kit.quarantine import refuse_replay, written_how
from tongqu.kit.sql.changing import follow, settle_landing
from tongqu.kit.sql.connections import Connections
from tongqu.kit.sql.landing import (
    HISTORY,
    Landing,
    check_columns,
    corrected,
    goes_on,
    refused_at_the_end,
    shape_of,
    vanished,
)
from tongqu.kit.sql.quarantining import Quarantining
from tongqu.kit.sql.rehearsal import rehearsed
from tongqu.kit.sql.session import SqlSession
from tongqu.kit.sql.undoing import undo
from tongqu.kit.sql.violating import set_aside, with_refused, without


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class SqlSink(Quarantining):
    """A sink over one SQL database. Subclasses say how to connect, create, load, merge and publish."""

    def __init__(self, now: Callable[[], str] = _now):
        self.now = now
        self._connections = Connections(self.connect)
        self._created = False
        self._landings: dict[str, Landing] = {}
        self._started: dict[str, Started] = {}
        self._lock = threading.RLock()

    # ---- the machine

    def prepare(self) -> None:
        """See Sink.prepare."""
        if self.parallel:
            self._connections.prepare()

    def lease(self) -> Db:
        """A connection for a session: one that another session gave back, or a new one."""
        return self._connections.lease()

    def give_back(self, db: Db) -> None:
        """Keep a connection without open transaction for the next session."""
        self._connections.give_back(db)

    def control(self) -> Db:
        """The sink's own connection, for everything that is not a split's."""
        return self._connections.control()

    @contextmanager
    def _transaction(self, *, relaxed: bool = False) -> Iterator[tuple[Db, Ledger]]:
        """One transaction over the sink's own connection, which is made anew after it was lost."""
        with self._lock:
            db = self.control()
            try:
                db.begin()
                if relaxed:
                    db.relax()
                yield db, self.ledger(db)
                db.commit()
            except BaseException as error:
                db.rollback()
                if isinstance(error, TongquError) and error.retryable:
                    self._connections.forget_control()
                raise

    def ledger(self, db: Db) -> Ledger:
        """The ledger over a connection."""
        return Ledger(db, self.ledger_schema(db))

    def preview(self, write: Write) -> Sequence[str]:
        """See Sink.preview."""
        with self._lock, rehearsed(self.control()) as noted:
            db = self.control()
            landing = Landing(write, 0, self.target(db, write.dataset.name), run=write.run)
            if landing.target is not None and self.has_table(db, CHECKPOINT):
                ledger = self.ledger(db)
                settle_landing(self, db, ledger, landing, ledger.head(write.sync, write.stream))
            self._prepare_target(db, landing)
            if write.mode is WriteMode.REPLACE:
                if landing.target is None:
                    self.create_target(db, landing)
                else:
                    self.alter(db, write.dataset.name, landing.alterations)
                    self.add_columns(db, landing, [write.dataset.schema.field(name) for name in landing.missing])
            return noted

    def undo(self, dataset: str) -> int:
        """See Sink.undo."""
        with self._lock:
            return undo(self, self.control(), dataset)

    def start(self, sync: str, run: str, restart: bool) -> Started:
        """See Sink.start."""
        with self._lock:
            if not self._created:
                try:
                    self.ledger(self.control()).create()
                except ConnectError:
                    self._connections.forget_control()
                    raise
                self._created = True
            with self._transaction(relaxed=True) as (_, ledger):  # whatever is committed later makes it durable
                started = ledger.start(sync, run, restart, self.now())
            self._started[sync] = started
            return started

    def end(self, sync: str, run: str, streams: Sequence[Write]) -> None:
        """See Sink.end."""
        with self._transaction() as (db, ledger):
            self.relate(db, streams)
            ledger.end(sync, run, self.now())

    def relate(self, db: Db, streams: Sequence[Write]) -> None:
        """Create the foreign keys between the streams of a finished run, where the system has them."""

    def open(self, write: Write) -> Opened:
        """See Sink.open."""
        if not write.dataset.columns:
            raise SchemaError(
                f"{write.dataset.name!r} has no column, so no table can be made of it",
                path=write.stream,
                hint="leave the table out; a file in which no row can be read has none: look at its first lines",
            )
        if write.mode in (WriteMode.UPSERT, WriteMode.HISTORY) and not write.key:
            raise InvalidPlanError(
                f"write mode {write.mode.value!r} needs a key and {write.dataset.name!r} has none",
                path=write.stream,
                hint="name the key columns with --key (or key: in the pipeline's sink)",
            )
        with self._transaction() as (db, ledger):  # a crash of the server would give the fence to two others
            return self._open(db, ledger, write)

    def _open(self, db: Db, ledger: Ledger, write: Write) -> Opened:
        run, ours = ledger.head(write.sync, lock=True), self._started.get(write.sync)
        if run is not None and ours is not None and (run.run, run.attempt) != (ours.run, ours.attempt):
            raise fenced(write.stream)  # a later process runs this sync: its streams are not taken back
        head = ledger.head(write.sync, write.stream, lock=True)
        fence = head.fence + 1 if head else 1
        if write.replay:
            refuse_replay(write, ledger.writer(write.dataset.name, but=write.sync, followed=False))
        same = head is not None and head.run == write.run
        landing = Landing(write, fence, self.target(db, write.dataset.name), run=write.run)
        self._landings[write.stream] = landing
        if head is not None and same and head.finished and not write.follows:
            return Opened(fence=head.fence, checkpoints={}, finished=True, counts=head.counts, previous=head.position)
        shape = shape_of(write)
        schema = settle_landing(self, db, ledger, landing, head)
        fits = head is not None and same and goes_on(landing, shape, head.spec)
        resumes = head is not None and same and head.state == "running" and fits
        checkpoints = ledger.splits(write.sync, write.stream) if resumes else {}
        if resumes and landing.staged and not self.has_table(db, landing.stage):
            published = self.ddl_commits and all(checkpoint.done for checkpoint in checkpoints.values())
            checkpoints = checkpoints if published else {}
        previous = head.position if head is not None and head.state != "discarded" else None
        store = ledger.add if head is None else ledger.change
        store(
            write.sync, write.stream, "",
            Head(write.run, 1, fence, "running",
                 {"shape": shape} | written_how(write) | schema,
                 previous),
            self.now(),
        )  # fmt: skip
        if checkpoints:
            ledger.raise_fence(write.sync, write.stream, fence)
            self._prepare_target(db, landing)
        else:
            ledger.forget_splits(write.sync, write.stream)
            if same and not write.follows:  # the run begins this stream anew, and will meet the same bad rows again
                ledger.quarantine.forget(write.sync, write.stream, write.run)
            self._prepare_target(db, landing)
            if landing.staged:
                self.create_stage(db, landing)
        landing.types = self._load_types(db, landing)
        changes = landing.settled.changes if landing.settled else ()
        counts = head.counts if head is not None and same else Counts()
        return Opened(fence=fence, checkpoints=checkpoints, previous=previous, counts=counts, changes=changes)

    def _prepare_target(self, db: Db, landing: Landing) -> None:
        """Create what direct writes need; a replace leaves the visible table alone until it publishes."""
        write = landing.write
        if self.columns_fold:
            check_columns(landing)
        if landing.target is None:
            if write.mode is not WriteMode.REPLACE:
                self.create_target(db, landing)
            return
        follow(self, db, landing)
        missing = landing.missing
        own = HISTORY if write.mode is WriteMode.HISTORY else ()
        mended = (*own, *landing.alterations.optional, *landing.alterations.renames)
        needed = [n for n in landing.target.required if n not in write.dataset.columns and n not in mended]
        if needed:
            raise SchemaError(
                f"the target {write.dataset.name!r} needs values for {', '.join(needed)}, which do not arrive",
                path=write.stream,
                hint="give the column a default in the target, drop its NOT NULL, or derive it in a step",
            )
        if missing and write.mode is not WriteMode.REPLACE:
            self.add_columns(db, landing, [write.dataset.schema.field(name) for name in missing])

    def _load_types(self, db: Db, landing: Landing) -> dict[str, str]:
        table = landing.stage if landing.staged else landing.write.dataset.name
        return self.column_types(db, table)

    def begin(self, write: Write, splits: Sequence[Split]) -> None:
        """See Sink.begin."""
        landing = self._landings[write.stream]
        if self.parallel:
            self._connections.ahead(len(splits))
        with self._transaction(relaxed=not write.follows) as (_, ledger):
            ledger.hold(write.sync, write.stream, landing.fence)
            ledger.forget_splits(write.sync, write.stream)
            for split in splits:
                head = Head(write.run, 1, landing.fence, "running", split.spec)
                ledger.add(write.sync, write.stream, split.id, head, self.now())

    def session(self, write: Write, split: Split) -> SqlSession:
        """See Sink.session."""
        return SqlSession(self, self._landings[write.stream], split)

    def reopen(self, write: Write) -> Opened:
        """See Sink.reopen."""
        landing = self._landings[write.stream]
        with self._lock:
            self._connections.forget()
            db = self.control()
            ledger = self.ledger(db)
            db.begin()
            try:
                head = ledger.hold(write.sync, write.stream, landing.fence)
                checkpoints = ledger.splits(write.sync, write.stream)
            finally:
                db.rollback()
            return Opened(landing.fence, checkpoints, head.position, head.finished, head.counts)

    def enter(self, write: Write) -> Opened:
        """See Lends.enter."""
        with self._transaction() as (db, ledger):
            run = ledger.head(write.sync, lock=True)
            head = ledger.head(write.sync, write.stream, lock=True)
            if run is None or head is None or (run.state, head.state, head.run) != ("running", "running", run.run):
                return self._open(db, ledger, write)
            if head.spec.get("shape") != shape_of(write):
                return self._open(db, ledger, write)
            self._joined(db, ledger, write, head)
            return Opened(head.fence, ledger.splits(write.sync, write.stream), head.position)

    def join(self, write: Write, fence: int, split: str, *, make: bool = False) -> Opened:
        """See Lends.join."""
        with self._transaction() as (db, ledger):
            head = ledger.hold(write.sync, write.stream, fence)
            known = self._landings.get(write.stream)
            landing = known if known and known.fence == fence else self._joined(db, ledger, write, head)
            if make and ledger.head(write.sync, write.stream, split) is None:
                ledger.add(write.sync, write.stream, split, Head(write.run, 1, fence, "running"), self.now())
            landing.claims[split] = ledger.claim(write.sync, write.stream, split, fence)
            return Opened(fence, ledger.splits(write.sync, write.stream), head.position)

    def _joined(self, db: Db, ledger: Ledger, write: Write, head: Head) -> Landing:
        landing = Landing(write, head.fence, self.target(db, write.dataset.name), run=write.run)
        settle_landing(self, db, ledger, landing, head)
        landing.types = self._load_types(db, landing)
        self._landings[write.stream] = landing
        return landing

    def gather(self, write: Write) -> Opened:
        """See Lends.gather."""
        fence = self._landings[write.stream].fence
        with self._transaction() as (_, ledger):
            head = ledger.hold(write.sync, write.stream, fence)
            ledger.raise_fence(write.sync, write.stream, fence)
            self._landings[write.stream].claims.clear()
            return Opened(fence, ledger.splits(write.sync, write.stream), head.position)

    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """See Sink.finish. Staged rows that repeat a value which must be unique are set aside, and the rest goes on."""
        landing = self._landings[write.stream]
        with self._lock:
            try:
                return self._finish(write, counts, position)
            except DataError:
                db = self.control()
                bad = set_aside(self, db, self.ledger(db), landing, self.now())
                if not bad:
                    raise
                counts = without(counts, bad)
                return with_refused(self._finish(write, counts, position), counts, bad)

    def _finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        landing = self._landings[write.stream]
        with self._lock:
            db = self.control()
            ledger = self.ledger(db)
            db.begin()
            db.relax()  # `end` makes it durable before the run is reported as succeeded
            try:
                head = ledger.hold(write.sync, write.stream, landing.fence)
                written = Written() if head.finished else self._publish(db, landing)
                if landing.staged and not head.finished:
                    counts = corrected(counts, written)
                crash_point("after_swap")
                if self.ddl_commits:  # a swap has given the stream's row back, to whoever took over since
                    ledger.hold(write.sync, write.stream, landing.fence)
                done = replace(head, state="finished", position=position, counts=counts)
                ledger.change(write.sync, write.stream, "", done, self.now())
                ledger.forget_splits(write.sync, write.stream)
            except RefusedRowsError as error:
                db.rollback()
                raise refused_at_the_end(landing, error) from error
            except BaseException:
                db.rollback()
                raise
            db.commit()
            if landing.staged and write.mode is not WriteMode.REPLACE and not landing.deferred:
                db.begin()
                self.drop(db, landing.stage)
                db.commit()
            return written

    def _publish(self, db: Db, landing: Landing) -> Written:
        crash_point("in_finish")
        if not landing.staged:
            return Written()
        if landing.write.mode is WriteMode.REPLACE:
            staged = self.has_table(db, landing.stage)
            if not staged and not self.ddl_commits:
                raise vanished(landing)
            return (self.publish(db, landing) if staged else None) or Written()
        if landing.write.mode is WriteMode.APPEND:
            return Written(inserted=self.append_stage(db, landing))
        return self.merge(db, landing, landing.stage)

    def landing(self, write: Write) -> Landing:
        """The landing of an opened stream."""
        return self._landings[write.stream]

    def close(self) -> None:
        """See Sink.close."""
        self._connections.close()
