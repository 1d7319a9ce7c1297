"""Writes topics of a queue: records and checkpoint in one transaction, new generations behind a mark that empties."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tongqu.connectors.queue.landing import Landing, now
from tongqu.connectors.queue.session import QueueSession
from tongqu.connectors.queue.settings import QueueSettings
from tongqu.core.connector import Session, Sink
from tongqu.core.data import Counts, Opened, Position, Split, Started, Write, WriteMode, Written
from tongqu.core.dirty import Dirty, Fix
from tongqu.core.errors import InvalidPlanError, SchemaError
from tongqu.kit.faults import crash_point
from tongqu.kit.ledger import Head, Ledger, fenced
from tongqu.kit.local_path import sink_folder
from tongqu.kit.quarantine import TOLD, refuse_replay, written_how
from tongqu.kit.queue.session import Filling
from tongqu.kit.queue.shaping import of_changes, own, settled_for
from tongqu.kit.queue.turn import Turn

T = TypeVar("T")


class QueueSink(Sink):
    """Writes one queue.

    `append` and `replace` make topics of messages, or of changes where the rows bring `_op`; `upsert` makes topics of
    changes: a row that is written is told as `r`, what is removed as `d`, and a target that is written by key from the
    topic has what this sink was given.
    """

    def __init__(self, settings: QueueSettings):
        self._settings = settings
        self.queue = settings.opened()
        self._landings: dict[str, Landing] = {}
        self._started: dict[str, Started] = {}

    def check(self) -> Iterator[str]:
        """See Sink.check. A missing file is not created: only its folder is looked at."""
        sink_folder(self._settings.path)
        yield "folder"
        if self.queue.exists:
            self.queue.topics()
            yield "file"
            self._do(lambda turn: turn.last)
        yield "privilege"

    def identity(self, name: str) -> str:
        """See Sink.identity."""
        return name

    def modes(self) -> tuple[WriteMode, ...]:
        """See Sink.modes."""
        return (WriteMode.APPEND, WriteMode.UPSERT, WriteMode.REPLACE)

    def removes(self, write: Write) -> bool:
        """See Sink.removes."""
        return of_changes(write)

    def _do(self, work: Callable[[Turn], T]) -> T:
        return self.queue.do(work).result()

    # ---- runs

    def start(self, sync: str, run: str, restart: bool) -> Started:
        """See Sink.start."""
        started = self._do(lambda turn: Ledger(turn.db).start(sync, run, restart, now()))
        self._started[sync] = started
        return started

    def end(self, sync: str, run: str, streams: Sequence[Write]) -> None:
        """See Sink.end."""
        del streams
        self._do(lambda turn: Ledger(turn.db).end(sync, run, now()))

    # ---- streams

    def open(self, write: Write) -> Opened:
        """See Sink.open. Raises InvalidPlanError where the topic holds messages and changes are to be written, or the
        other way round."""
        if not own(write.dataset.schema).names:
            raise SchemaError(f"{write.dataset.name!r} has no column", path=write.stream)
        return self._do(lambda turn: self._open(turn, write))

    def _open(self, turn: Turn, write: Write) -> Opened:
        ledger = Ledger(turn.db)
        run, ours = ledger.head(write.sync), self._started.get(write.sync)
        if run is not None and ours is not None and (run.run, run.attempt) != (ours.run, ours.attempt):
            raise fenced(write.stream)
        head = ledger.head(write.sync, write.stream)
        fence = head.fence + 1 if head else 1
        if write.replay:
            refuse_replay(write, ledger.writer(write.dataset.name, but=write.sync))
        landing, remember = self._landing(turn, ledger, write, head, fence)
        self._landings[write.stream] = landing
        settled = landing.settled
        same = head is not None and head.run == write.run
        if head is not None and same and head.finished and not write.follows:
            ledger.change(write.sync, write.stream, "", replace(head, fence=fence), now())
            return Opened(fence, {}, head.position, finished=True, counts=head.counts)
        shape = _shape(write)
        resumes = head is not None and same and head.state == "running" and _goes_on(landing, shape, head)
        checkpoints = ledger.splits(write.sync, write.stream) if resumes else {}
        previous = head.position if head is not None and head.state != "discarded" else None
        spec = {"shape": shape} | written_how(write) | remember
        ledger.put(write.sync, write.stream, "", Head(write.run, 1, fence, "running", spec, previous), now())
        turn.discard(f"{landing.stage}#")
        if checkpoints:
            ledger.raise_fence(write.sync, write.stream, fence)
        else:
            ledger.forget_splits(write.sync, write.stream)
            turn.discard(landing.stage)
            if same and not write.follows:
                ledger.quarantine.forget(write.sync, write.stream, write.run)
        if not landing.filling.staged or turn.topic(landing.topic) is None:
            turn.declare(
                landing.topic, landing.schema, key=write.key or write.dataset.key, changes=landing.filling.changes
            )
        counts = head.counts if head is not None and same else Counts()
        return Opened(fence, checkpoints, previous, counts=counts, changes=settled.changes)

    def _landing(
        self, turn: Turn, ledger: Ledger, write: Write, head: Head | None, fence: int
    ) -> tuple[Landing, dict[str, Any]]:
        """What is done about a schema that has changed since the topic was last given rows, and what to remember."""
        last = head or ledger.last(write.stream, write.dataset.name)
        settled, schema, remember = settled_for(write, last, there=turn.topic(write.dataset.name) is not None)
        return Landing(write, fence, settled, schema, Filling.of(write)), remember

    def begin(self, write: Write, splits: Sequence[Split]) -> None:
        """See Sink.begin."""
        landing = self._landings[write.stream]

        def work(turn: Turn) -> None:
            ledger = Ledger(turn.db)
            ledger.hold(write.sync, write.stream, landing.fence)
            ledger.forget_splits(write.sync, write.stream)
            for split in splits:
                head = Head(write.run, 1, landing.fence, "running", split.spec)
                ledger.add(write.sync, write.stream, split.id, head, now())

        self._do(work)

    def session(self, write: Write, split: Split) -> Session:
        """See Sink.session."""
        return QueueSession(self.queue, self._landings[write.stream], split)

    def reopen(self, write: Write) -> Opened:
        """See Sink.reopen."""
        landing = self._landings[write.stream]

        def work(turn: Turn) -> Opened:
            ledger = Ledger(turn.db)
            head = ledger.hold(write.sync, write.stream, landing.fence)
            checkpoints = ledger.splits(write.sync, write.stream)
            return Opened(landing.fence, checkpoints, head.position, head.finished, head.counts)

        return self._do(work)

    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """See Sink.finish. A new generation appears in one transaction: a mark that empties, then its records."""
        landing = self._landings[write.stream]
        crash_point("in_finish")

        def work(turn: Turn) -> None:
            ledger = Ledger(turn.db)
            head = ledger.hold(write.sync, write.stream, landing.fence)
            if head.finished:
                return
            if landing.filling.staged:
                self._publish(turn, landing)
            done = replace(head, state="finished", position=position, counts=counts)
            ledger.change(write.sync, write.stream, "", done, now())
            ledger.forget_splits(write.sync, write.stream)

        self._do(work)
        crash_point("after_swap")
        return Written()

    def _publish(self, turn: Turn, landing: Landing) -> None:
        write, began = landing.write, turn.last
        turn.declare(landing.topic, landing.schema, key=write.key or write.dataset.key, changes=landing.filling.changes)
        if landing.filling.empties:
            turn.truncate(landing.topic)
        turn.publish(landing.stage, landing.topic)
        if turn.last > began:
            turn.end()

    # ---- quarantine

    def dirty(self, which: Dirty) -> list[dict[str, Any]]:
        """See Sink.dirty."""
        if not self.queue.exists:
            return []
        return self.queue.look(lambda db: Ledger(db).quarantine.rows(which))

    def fix(self, fixes: Sequence[Fix]) -> int:
        """See Sink.fix."""
        return self._do(lambda turn: Ledger(turn.db).quarantine.fix(fixes))

    def replaying(self, sync: str, stream: str) -> dict[str, Any]:
        """See Sink.replaying."""
        if not self.queue.exists:
            return {}
        head = self.queue.look(lambda db: Ledger(db).head(sync, stream))
        if head is None or "key" not in head.spec:
            return {}
        told = {name: head.spec.get(name) for name in TOLD}
        return {**told, "mode": head.spec["write"], "run": head.run, "finished": head.finished}

    def close(self) -> None:
        """See Sink.close."""
        self.queue.close()


def _shape(write: Write) -> str:
    columns = zip(write.dataset.columns, write.dataset.types(), strict=True)
    return ";".join(f"{name}:{kind}" for name, kind in columns) + f"|{write.mode.value}|{','.join(write.key)}"


def _goes_on(landing: Landing, shape: str, head: Head) -> bool:
    """Whether the checkpoints of an unfinished run hold for this attempt: the same steps and columns, or changes only.

    Raises InvalidPlanError for an append whose records would come twice.
    """
    write = landing.write
    if write.incremental or (head.spec.get("shape") == shape and head.spec.get("recipe") == write.recipe):
        return True
    if write.mode is WriteMode.APPEND and not landing.filling.staged:
        raise InvalidPlanError(
            "the steps or the source's schema changed while a run was unfinished, and some of its rows were appended",
            path=write.stream,
            hint="put the steps back and run the same command again, or run with --restart: it appends all rows anew",
        )
    return False
