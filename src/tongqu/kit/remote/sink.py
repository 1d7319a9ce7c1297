"""A sink over a system without transactions of ours: fence, checkpoints and quarantine at home, beside the calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.core.connector import Session, Sink
from tongqu.core.data import Counts, Deletes, Opened, Position, Split, Started, Write, WriteMode, Written
from tongqu.core.dirty import Dirty, Fix
from tongqu.core.errors import InvalidPlanError, SchemaError
from tongqu.kit.accepted import remembered, to_remember
from tongqu.kit.faults import crash_point
from tongqu.kit.ledger import Head, Ledger, fenced
from tongqu.kit.quarantine import TOLD, refuse_replay, written_how
from tongqu.kit.remote.calls import Scope, Which
from tongqu.kit.remote.effect import Op
from tongqu.kit.remote.finishing import SPLIT, delete_missing
from tongqu.kit.remote.gathering import GatheringSession, send_gathered, settle_gathered
from tongqu.kit.remote.handling import Handled, retry_calls, undo_calls
from tongqu.kit.remote.journal import Books, Journal, no_folder, now
from tongqu.kit.remote.manner import Manner
from tongqu.kit.remote.session import RemoteSession, removes
from tongqu.kit.remote.writer import Writer
from tongqu.meaning.settling import ArrowShape, Settled, settle

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Landing:
    """One stream on its way to a remote system, from `open` to `finish`."""

    write: Write
    fence: int
    settled: Settled
    skips: bool
    """Whether rows that the peer has as they are need not be sent."""

    @property
    def follows(self) -> bool:
        """Whether it is noted which keys came, because those that stay away are deleted in the end."""
        return self.write.mode is WriteMode.REPLACE or self.write.deletes is Deletes.HARD


class RemoteSink(Sink):
    """Writes a system call by call. Subclasses give `check` and `writer`, and may narrow `modes`."""

    name = "this system"
    """How errors call it."""

    def __init__(self, manner: Manner | None = None):
        self.manner = manner or Manner()
        self._journal: Journal | None = None
        self._landings: dict[str, Landing] = {}
        self._writers: dict[str, Writer] = {}
        self._started: dict[str, Started] = {}

    @abstractmethod
    def writer(self, write: Write) -> Writer:
        """What sends the effects of a stream; raises InvalidPlanError if the target cannot be written at all."""

    @property
    def journal(self) -> Journal:
        """The database at home; raises InvalidPlanError before `lodge`."""
        if self._journal is None:
            raise no_folder(self.name)
        return self._journal

    def lodge(self, folder: Path) -> None:
        """See Sink.lodge."""
        self._journal = Journal(folder)

    def modes(self) -> tuple[WriteMode, ...]:
        """Append, upsert and replace; a target that cannot do one of them refuses it when it is opened."""
        return (WriteMode.APPEND, WriteMode.UPSERT, WriteMode.REPLACE)

    def removes(self, write: Write) -> bool:
        """See Sink.removes."""
        writer = self.writer(write)
        try:
            return removes(writer, write)
        finally:
            writer.close()

    # ---- runs

    def start(self, sync: str, run: str, restart: bool) -> Started:
        """See Sink.start."""
        with self.journal.transaction() as books:
            started = books.ledger.start(sync, run, restart, now())
        self._started[sync] = started
        return started

    def end(self, sync: str, run: str, streams: Sequence[Write]) -> None:
        """See Sink.end."""
        with self.journal.transaction() as books:
            books.ledger.end(sync, run, now())
            for write in streams:
                books.calls.prune(sync, write.stream, self.manner.keep_calls)

    # ---- streams

    def open(self, write: Write) -> Opened:
        """See Sink.open. Raises InvalidPlanError for what the peer cannot do, with the modes that it can."""
        writer = self.writer(write)
        able(self, writer, write)
        if write.stream in self._writers:
            self._writers[write.stream].close()
        self._writers[write.stream] = writer
        with self.journal.transaction() as books:
            return self._open(books, write)

    def _open(self, books: Books, write: Write) -> Opened:
        ledger = books.ledger
        run, ours = ledger.head(write.sync), self._started.get(write.sync)
        if run is not None and ours is not None and (run.run, run.attempt) != (ours.run, ours.attempt):
            raise fenced(write.stream)
        head = ledger.head(write.sync, write.stream)
        fence = head.fence + 1 if head else 1
        if write.replay:
            refuse_replay(write, ledger.writer(write.dataset.name, but=write.sync))
        settled, remember = settled_for(ledger, write, head)
        skips = self.manner.skip_unchanged and not write.replay and write.mode is WriteMode.UPSERT
        self._landings[write.stream] = Landing(settled.write, fence, settled, skips)
        same = head is not None and head.run == write.run
        if head is not None and same and head.finished and not write.follows:
            ledger.change(write.sync, write.stream, "", replace(head, fence=fence), now())
            return Opened(fence, {}, head.position, finished=True, counts=head.counts)
        shape = _shape(write)
        resumes = (
            head is not None
            and same
            and head.state == "running"
            and _goes_on(write, shape, head, self._writers[write.stream].gathers)
        )
        checkpoints = ledger.splits(write.sync, write.stream) if resumes else {}
        previous = head.position if head is not None and head.state != "discarded" else None
        spec = {"shape": shape} | written_how(write) | remember
        ledger.put(write.sync, write.stream, "", Head(write.run, 1, fence, "running", spec, previous), now())
        if checkpoints:
            ledger.raise_fence(write.sync, write.stream, fence)
        else:
            ledger.forget_splits(write.sync, write.stream)
            books.waiting.drop(write.sync, write.stream)
            if same and not write.follows:
                ledger.quarantine.forget(write.sync, write.stream, write.run)
                books.calls.begin_anew(write.sync, write.stream, write.run)
        counts = head.counts if head is not None and same else Counts()
        return Opened(fence, checkpoints, previous, counts=counts, changes=settled.changes)

    def begin(self, write: Write, splits: Sequence[Split]) -> None:
        """See Sink.begin."""
        with self._held(write) as (books, landing, _):
            books.ledger.forget_splits(write.sync, write.stream)
            for split in splits:
                head = Head(write.run, 1, landing.fence, "running", split.spec)
                books.ledger.add(write.sync, write.stream, split.id, head, now())

    def session(self, write: Write, split: Split) -> Session:
        """See Sink.session."""
        if self._writers[write.stream].gathers:
            return GatheringSession(self, self._landings[write.stream], split)
        return RemoteSession(self, self._landings[write.stream], self._writers[write.stream], split)

    def reopen(self, write: Write) -> Opened:
        """See Sink.reopen."""
        with self._held(write) as (books, landing, head):
            checkpoints = books.ledger.splits(write.sync, write.stream)
            return Opened(landing.fence, checkpoints, head.position, head.finished, head.counts)

    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """See Sink.finish. Rows that stayed away from a replace, or from a full upsert that finds deletes, are deleted
        call by call; readers of the peer see them go one after the other."""
        with self._held(write) as (_, landing, head):
            if head.finished:
                return Written()
        crash_point("in_finish")
        written = Written()
        writer = self._writers[write.stream]
        if gathers := writer.gathers:
            written = send_gathered(self, landing, writer)
            counts = replace(counts, inserted=written.inserted, quarantined=counts.quarantined + len(written.refused))
        if landing.follows and not write.incremental:
            deleted = delete_missing(self, landing, writer)
            counts = replace(counts, deleted=counts.deleted + deleted, generated=counts.generated + deleted)
            written = Written(
                counts.inserted, counts.updated, counts.deleted, counts.unchanged, counts.merged, counts.discarded,
                counts.bytes,
            )  # fmt: skip
        self.publish(write)
        crash_point("after_swap")
        with self._held(write) as (books, _, head):
            missing = Scope(write.sync, write.stream, write.dataset.name, write.run, SPLIT, "")
            books.calls.commit(missing, done=True, at=now())
            if gathers:
                settle_gathered(books, landing, written)
            done = replace(head, state="finished", position=position, counts=counts)
            books.ledger.change(write.sync, write.stream, "", done, now())
            books.ledger.forget_splits(write.sync, write.stream)
        return written

    def publish(self, write: Write) -> None:
        """Make the rows of a whole stream visible, where the system can hold them back until then; again after a crash
        behind it."""

    @contextmanager
    def _held(self, write: Write) -> Iterator[tuple[Books, Landing, Head]]:
        """A transaction in which the fence is ours; raises FencedError."""
        landing = self._landings[write.stream]
        with self.journal.transaction() as books:
            yield books, landing, books.ledger.hold(write.sync, write.stream, landing.fence)

    # ---- quarantine

    def dirty(self, which: Dirty) -> list[dict[str, Any]]:
        """See Sink.dirty."""
        if not self.journal.exists():
            return []
        with self.journal.transaction() as books:
            return books.ledger.quarantine.rows(which)

    def fix(self, fixes: Sequence[Fix]) -> int:
        """See Sink.fix."""
        with self.journal.transaction() as books:
            return books.ledger.quarantine.fix(fixes)

    def replaying(self, sync: str, stream: str) -> dict[str, Any]:
        """See Sink.replaying."""
        if not self.journal.exists():
            return {}
        with self.journal.transaction() as books:
            head = books.ledger.head(sync, stream)
        if head is None or "key" not in head.spec:
            return {}
        told = {name: head.spec.get(name) for name in TOLD}
        return {**told, "mode": head.spec["write"], "run": head.run, "finished": head.finished}

    def undo(self, dataset: str) -> int:
        """See Sink.undo: no generation is kept, single calls can be taken back."""
        raise InvalidPlanError(
            f"{self.name} keeps no generation of {dataset!r}",
            hint="`tongqu calls undo --run RUN` takes back a run's calls, where the connection names an undoing one",
        )

    # ---- calls

    def calls(self, which: Which) -> list[dict[str, Any]]:
        """The noted calls that are meant, newest first, with `row` where their content is kept; creates nothing."""
        if not self.journal.exists():
            return []
        with self.journal.transaction() as books:
            return books.calls.listed(which)

    def undo_calls(self, which: Which) -> list[Handled]:
        """See `handling.undo_calls`."""
        return undo_calls(self, which)

    def retry_calls(self, which: Which) -> list[Handled]:
        """See `handling.retry_calls`."""
        return retry_calls(self, which)

    def close(self) -> None:
        """See Sink.close."""
        for writer in self._writers.values():
            writer.close()
        if self._journal is not None:
            self._journal.close()


def able(sink: RemoteSink, writer: Writer, write: Write) -> None:
    """Raise InvalidPlanError if the peer cannot be written as asked, with what it can."""
    upserts = Op.UPSERT in writer.ops or ({Op.CREATE, Op.UPDATE} <= writer.ops and (writer.looks or writer.alone))
    can = {
        WriteMode.APPEND: Op.CREATE in writer.ops,
        WriteMode.UPSERT: upserts,
        WriteMode.REPLACE: upserts and Op.DELETE in writer.ops and writer.lists,
    }
    valid = [mode for mode in sink.modes() if can.get(mode)]
    if write.mode not in valid:
        raise InvalidPlanError(
            f"{sink.name} cannot be written in mode {write.mode.value!r} ({write.dataset.name})",
            path=write.stream,
            hint=f"valid write modes: {', '.join(valid) or 'none'}",
        )
    if write.mode is not WriteMode.APPEND and not write.key:
        raise InvalidPlanError(
            f"write mode {write.mode.value!r} needs a key and {write.dataset.name!r} has none",
            path=write.stream,
            hint="name the key columns with --key (or key: in the pipeline's sink)",
        )
    if write.deletes is Deletes.SOFT or (write.deletes is Deletes.HARD and Op.DELETE not in writer.ops):
        raise InvalidPlanError(
            f"{sink.name} does not find deletes as {write.deletes.value!r}", path=write.stream, hint="deletes: ignore"
        )
    if writer.gathers and write.mode is not WriteMode.APPEND:
        raise InvalidPlanError(
            f"{sink.name} sends what has come as a whole", path=write.stream, hint="valid write modes: append"
        )
    if (sink.manner.group or sink.manner.whole_calls) and not writer.undoes:
        raise InvalidPlanError(
            "group and whole_calls need a call that undoes what went through, and the connection names none",
            path=write.stream,
            hint="name the compensating call, or leave group out",
        )


def settled_for(ledger: Ledger, write: Write, head: Head | None) -> tuple[Settled, dict[str, Any]]:
    """What is done about a schema that has changed since the target was last given rows, and what to remember."""
    from tongqu.kit.originals import schema_of, shape_of

    if not write.dataset.columns:
        raise SchemaError(f"{write.dataset.name!r} has no column, so no call can be made of it", path=write.stream)
    last = head or ledger.last(write.stream, write.dataset.name)
    known = remembered(last.spec, finished=last.finished) if last else None
    before = schema_of(last.spec["arrow"]) if last and "arrow" in last.spec and known else None
    settled = settle(write, ArrowShape(before) if before is not None else None, known)
    arriving = settled.write.dataset.schema
    gone = [field for field in before or () if field.name not in arriving.names]
    return settled, to_remember(settled.accepted, known) | {"arrow": shape_of(_with(arriving, gone))}


def _with(schema: pa.Schema, more: Sequence[pa.Field[Any]]) -> pa.Schema:
    for field in more:
        schema = schema.append(field)
    return schema.remove_metadata()


def _shape(write: Write) -> str:
    columns = zip(write.dataset.columns, write.dataset.types(), strict=True)
    return ";".join(f"{name}:{kind}" for name, kind in columns) + f"|{write.mode.value}|{','.join(write.key)}"


def _goes_on(write: Write, shape: str, head: Head, gathers: bool) -> bool:
    """Whether the checkpoints of an unfinished run hold for this attempt: the same steps and columns, or changes only.

    Raises InvalidPlanError for an append whose rows would come twice.
    """
    if write.incremental or (head.spec.get("shape") == shape and head.spec.get("recipe") == write.recipe):
        return True
    if write.mode is WriteMode.APPEND and not gathers:
        raise InvalidPlanError(
            "the steps or the source's schema changed while a run was unfinished, and some of its rows were sent",
            path=write.stream,
            hint="put the steps back and run the same command again, or run with --restart: it sends all rows anew",
        )
    return False
