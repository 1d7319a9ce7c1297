"""The state machine of every SQL sink: fence, staged generations, exactly-once commits; systems fill in the verbs."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from tongqu.core.connector import Sink
from tongqu.core.data import BadRow, Bytes, Counts, Opened, Position, Split, Started, Write, WriteMode, Written
from tongqu.core.errors import InvalidPlanError, RefusedRowsError, SchemaError
from tongqu.kit.db import Db
from tongqu.kit.faults import crash_point
from tongqu.kit.ledger import QUARANTINE, Head, Ledger, fenced
from tongqu.kit.sql.landing import (
    HISTORY,
    Landing,
    Target,
    check_columns,
    corrected,
    goes_on,
    refused_at_the_end,
    shape_of,
    vanished,
)
from tongqu.kit.sql.session import SqlSession
from tongqu.kit.sql.undoing import undo

if TYPE_CHECKING:
    import pyarrow as pa


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class SqlSink(Sink):
    """A sink over one SQL database. Subclasses say how to connect, create, load, merge and publish.

    Hooks run inside the transaction that the caller opened, unless their docstring says otherwise.
    """

    columns_fold: ClassVar[bool] = True
    """Column names that differ in letter case only mean one column."""
    ddl_commits: ClassVar[bool] = False
    """DDL ends the open transaction (MySQL): a missing stage whose splits are all done has been published."""

    def __init__(self, now: Callable[[], str] = _now):
        self.now = now
        self._control: Db | None = None
        self._created = False
        self._idle: list[Db] = []
        self._landings: dict[str, Landing] = {}
        self._started: dict[str, Started] = {}
        self._lock = threading.RLock()

    # ---- what a system fills in

    @abstractmethod
    def connect(self) -> Db:
        """A new connection, ready for transactions."""

    @abstractmethod
    def target(self, db: Db, name: str) -> Target | None:
        """The table as it is now, or None."""

    @abstractmethod
    def create_target(self, db: Db, landing: Landing) -> None:
        """Create the target from the arriving schema with key, titles and (for history) validity columns."""

    @abstractmethod
    def add_columns(self, db: Db, landing: Landing, fields: Sequence[pa.Field[Any]]) -> None:
        """Add nullable columns that the target lacks."""

    @abstractmethod
    def create_stage(self, db: Db, landing: Landing) -> None:
        """Create the staged generation anew (dropping a leftover): shaped like the target if there is one."""

    @abstractmethod
    def drop(self, db: Db, name: str) -> None:
        """Drop a table if it exists."""

    @abstractmethod
    def create_chunk(self, db: Db, landing: Landing) -> None:
        """Create or empty this session's temporary table for a chunk, with the arriving columns in load order."""

    def sift(self, db: Db, landing: Landing, rows: pa.Table) -> tuple[pa.Table, list[BadRow]]:
        """Take out rows the target is known to refuse, before any is loaded; needed where there are no savepoints."""
        del db, landing
        return rows, []

    @abstractmethod
    def load(self, db: Db, landing: Landing, rows: pa.Table) -> int:
        """Bulk load rows into `landing.into`; returns their number. Raises RefusedRowsError or CastError for bad
        data, after which the caller rolls back to its savepoint."""

    def copy_bytes(self, db: Db, landing: Landing, data: Bytes) -> int:
        """Bulk load raw bytes into `landing.into`; returns the system's own count. Raises RefusedRowsError."""
        raise NotImplementedError(f"{type(self).__name__} takes no {data.format} for {landing.into} over {db}")

    @abstractmethod
    def merge(self, db: Db, landing: Landing, source: str) -> Written:
        """Merge the rows of a staged or chunk table into the target by key: upsert, or history (SCD2). Applies
        delete detection if the source is a whole generation (`landing.staged`)."""

    @abstractmethod
    def publish(self, db: Db, landing: Landing) -> Written | None:
        """Build the key and indexes of the staged generation and make it the target; keep the old one for undo.

        Idempotent where DDL commits implicitly. Returns None if every staged row became a row of a new target, or
        what was done to a target that had to keep its identity. Raises DataError when the key is not unique.
        """

    def put_back(self, db: Db, name: str) -> int:
        """Exchange a target (if it is there) with its kept generation, which is; returns the number of rows then."""
        raise InvalidPlanError(f"{type(self).__name__} cannot put back the kept generation of {name!r} over {db}")

    @abstractmethod
    def append_stage(self, db: Db, landing: Landing) -> int:
        """Insert the staged rows into the target; returns their number."""

    @abstractmethod
    def has_table(self, db: Db, name: str) -> bool:
        """Whether a table of that name exists."""

    def column_types(self, db: Db, name: str) -> dict[str, str]:
        """The columns of a table with their types; empty if there is none."""
        found = self.target(db, name)
        return dict(found.columns) if found else {}

    def ledger_schema(self, db: Db) -> str:
        """Quoted prefix of the schema the ledger lives in."""
        del db
        return ""

    # ---- the machine

    def lease(self) -> Db:
        """A connection for a session: one that another session gave back, or a new one."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self.connect()

    def give_back(self, db: Db) -> None:
        """Keep a connection without open transaction for the next session."""
        with self._lock:
            self._idle.append(db)

    def control(self) -> Db:
        """The sink's own connection, for everything that is not a split's."""
        if self._control is None:
            self._control = self.connect()
        return self._control

    def ledger(self, db: Db) -> Ledger:
        """The ledger over a connection."""
        return Ledger(db, self.ledger_schema(db))

    def quarantined(
        self, limit: int = 1000, *, run: str | None = None, stream: str | None = None
    ) -> list[dict[str, Any]]:
        """See Sink.quarantined."""
        with self._lock:
            db = self.control()
            return self.ledger(db).quarantined(limit, run=run, stream=stream) if self.has_table(db, QUARANTINE) else []

    def undo(self, dataset: str) -> int:
        """See Sink.undo."""
        with self._lock:
            return undo(self, self.control(), dataset)

    def start(self, sync: str, run: str, restart: bool) -> Started:
        """See Sink.start."""
        with self._lock:
            db = self.control()
            ledger = self.ledger(db)
            if not self._created:
                ledger.create()
                self._created = True
            db.begin()
            db.relax()  # whatever is committed later makes it durable
            started = ledger.start(sync, run, restart, self.now())
            db.commit()
            self._started[sync] = started
            return started

    def end(self, sync: str, run: str, streams: Sequence[Write]) -> None:
        """See Sink.end."""
        with self._lock:
            db = self.control()
            db.begin()
            self.relate(db, streams)
            self.ledger(db).end(sync, run, self.now())
            db.commit()

    def relate(self, db: Db, streams: Sequence[Write]) -> None:
        """Create the foreign keys between the streams of a finished run, where the system has them."""

    def open(self, write: Write) -> Opened:
        """See Sink.open."""
        if write.mode in (WriteMode.UPSERT, WriteMode.HISTORY) and not write.key:
            raise InvalidPlanError(
                f"write mode {write.mode.value!r} needs a key and {write.dataset.name!r} has none",
                path=write.stream,
                hint="name the key columns with --key (or key: in the pipeline's sink)",
            )
        with self._lock:
            db = self.control()
            ledger = self.ledger(db)
            db.begin()
            db.relax()  # nothing of value is in it, and the first chunk's commit makes it durable
            try:
                opened = self._open(db, ledger, write)
            except BaseException:
                db.rollback()
                raise
            db.commit()
            return opened

    def _open(self, db: Db, ledger: Ledger, write: Write) -> Opened:
        run, ours = ledger.head(write.sync, lock=True), self._started.get(write.sync)
        if run is not None and ours is not None and (run.run, run.attempt) != (ours.run, ours.attempt):
            raise fenced(write.stream)  # a later process runs this sync: its streams are not taken back
        head = ledger.head(write.sync, write.stream, lock=True)
        fence = head.fence + 1 if head else 1
        same = head is not None and head.run == write.run
        landing = Landing(write, fence, self.target(db, write.dataset.name), run=write.run)
        self._landings[write.stream] = landing
        if head is not None and same and head.finished:
            return Opened(fence=head.fence, checkpoints={}, finished=True, counts=head.counts, previous=head.position)
        shape = shape_of(write)
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
                 {"shape": shape, "recipe": write.recipe, "write": write.mode.value, "target": write.dataset.name},
                 previous),
            self.now(),
        )  # fmt: skip
        if checkpoints:
            ledger.raise_fence(write.sync, write.stream, fence)
            self._prepare_target(db, landing)
        else:
            ledger.forget_splits(write.sync, write.stream)
            if same:  # the run begins this stream anew, and will meet the same bad rows again
                ledger.forget_quarantine(write.sync, write.stream, write.run)
            self._prepare_target(db, landing)
            if landing.staged:
                self.create_stage(db, landing)
        landing.types = self._load_types(db, landing)
        return Opened(fence=fence, checkpoints=checkpoints, previous=previous)

    def _prepare_target(self, db: Db, landing: Landing) -> None:
        """Create what direct writes need; a replace leaves the visible table alone until it publishes."""
        write = landing.write
        if self.columns_fold:
            check_columns(landing)
        if landing.target is None:
            if write.mode is not WriteMode.REPLACE:
                self.create_target(db, landing)
            return
        missing = [name for name in write.dataset.columns if name not in landing.target.columns]
        own = HISTORY if write.mode is WriteMode.HISTORY else ()
        needed = [n for n in landing.target.required if n not in write.dataset.columns and n not in own]
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
        with self._lock:
            db = self.control()
            ledger = self.ledger(db)
            db.begin()
            db.relax()
            try:
                ledger.hold(write.sync, write.stream, landing.fence)
                ledger.forget_splits(write.sync, write.stream)
                for split in splits:
                    head = Head(write.run, 1, landing.fence, "running", split.spec)
                    ledger.add(write.sync, write.stream, split.id, head, self.now())
            except BaseException:
                db.rollback()
                raise
            db.commit()

    def session(self, write: Write, split: Split) -> SqlSession:
        """See Sink.session."""
        return SqlSession(self, self._landings[write.stream], split)

    def reopen(self, write: Write) -> Opened:
        """See Sink.reopen."""
        landing = self._landings[write.stream]
        with self._lock:
            if self._control is not None:
                self._control.close()
                self._control = None
            db = self.control()
            ledger = self.ledger(db)
            db.begin()
            try:
                head = ledger.hold(write.sync, write.stream, landing.fence)
                checkpoints = ledger.splits(write.sync, write.stream)
            finally:
                db.rollback()
            return Opened(landing.fence, checkpoints, head.position, head.finished, head.counts)

    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """See Sink.finish."""
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
        while self._idle:
            self._idle.pop().close()
        if self._control is not None:
            self._control.close()
            self._control = None
