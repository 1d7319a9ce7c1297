"""Writes rows into topics, with the position in the same transaction, and the ledger in a compacted topic beside."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tongqu.connectors.kafka.cluster import Cluster
from tongqu.connectors.kafka.ledger import KafkaLedger
from tongqu.connectors.kafka.pen import Pen
from tongqu.connectors.kafka.session import KafkaSession
from tongqu.connectors.kafka.settings import KafkaSettings
from tongqu.connectors.kafka.source import reached
from tongqu.connectors.kafka.topic import ORIGIN_HEADER, RUN_HEADER
from tongqu.core.connector import Session, Sink
from tongqu.core.data import (
    BadRow,
    Checkpoint,
    Counts,
    Deletes,
    Opened,
    Position,
    Split,
    Started,
    Write,
    WriteMode,
    Written,
)
from tongqu.core.dirty import Dirty, Fix
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.faults import crash_point
from tongqu.kit.ledger import Head, fenced
from tongqu.kit.messages.encoder import Encoder
from tongqu.kit.messages.source import Registered
from tongqu.kit.quarantine import TOLD, refuse_replay, written_how
from tongqu.kit.remote.sink import settled_for
from tongqu.meaning.settling import Settled


@dataclass
class Landing:
    """One stream on its way into a topic."""

    write: Write
    fence: int
    settled: Settled
    topic: str
    pen: Pen
    encoder: Encoder
    headers: list[tuple[str, bytes]]


class KafkaSink(Sink):
    """Topics as targets: `append` writes messages, `upsert` messages by key into a compacted topic, `replace` writes
    the new messages and then deletes those before. One process writes a stream at a time."""

    parallel = False

    def __init__(self, settings: KafkaSettings):
        self._settings = settings
        self._cluster = Cluster(settings)
        self._ledger = KafkaLedger(self._cluster)
        self._landings: dict[str, Landing] = {}
        self._control: dict[str, Pen] = {}
        self._registered = Registered(settings.registry)
        self._stale = True
        self._lock = threading.RLock()

    def lodge(self, folder: Path) -> None:
        """See Sink.lodge."""
        self._registered.lodge(folder)

    def check(self) -> Iterator[str]:
        """See Sink.check; makes the topics of the ledger, if they are not there."""
        yield from reached(self._cluster)
        self._ledger.create()
        pen = Pen(self._cluster, "check")
        try:
            pen.commit()
            yield "transactions" if pen.transactional else "transactions: none, messages are written at least once"
        finally:
            pen.close()

    def modes(self) -> tuple[WriteMode, ...]:
        """See Sink.modes."""
        return (WriteMode.APPEND, WriteMode.UPSERT, WriteMode.REPLACE)

    def removes(self, write: Write) -> bool:
        """See Sink.removes."""
        return write.mode is WriteMode.UPSERT and bool(write.key) and write.deletes is not Deletes.SOFT

    # ---- runs

    def start(self, sync: str, run: str, restart: bool) -> Started:
        """See Sink.start."""
        with self._lock:
            self._ledger.create()
            self._control[sync] = self._control.get(sync) or Pen(self._cluster, sync, transactional=False)
            self._ledger.load()
            self._stale = False
            started = self._ledger.start(sync, run, restart, _now())
            self._store(self._control[sync])
            return started

    def end(self, sync: str, run: str, streams: Sequence[Write]) -> None:
        """See Sink.end."""
        del streams
        with self._lock:
            self._fresh()
            self._ledger.end(sync, run, _now())
            self._store(self._control[sync])

    # ---- streams

    def open(self, write: Write) -> Opened:
        """See Sink.open. Raises InvalidPlanError for what a topic cannot be."""
        self._able(write)
        topic = self._settings.topic(write.dataset.name).topic
        with self._lock:
            if write.stream in self._landings:
                self._landings[write.stream].pen.close()
            partitions = self._cluster.partitions(topic)
            if not partitions:
                self._make(write, topic)
            pen = Pen(self._cluster, write.sync, write.stream)
            self._ledger.load()
            self._stale = False
            return self._opened(write, topic, pen)

    def _opened(self, write: Write, topic: str, pen: Pen) -> Opened:
        ledger = self._ledger
        head = ledger.head(write.sync, write.stream)
        fence = head.fence + 1 if head else 1
        if write.replay:
            refuse_replay(write, ledger.writer(write.dataset.name, but=write.sync))
        settled, remember = self._settled(write, head)
        encoder = self._encoder(settled.write)
        told = [(ORIGIN_HEADER, write.sync.encode()), (RUN_HEADER, write.run.encode())]
        self._landings[write.stream] = Landing(settled.write, fence, settled, topic, pen, encoder, told)
        same = head is not None and head.run == write.run
        if head is not None and same and head.finished and not write.follows:
            ledger.change(write.sync, write.stream, "", replace(head, fence=fence), _now())
            self._store(pen)
            return Opened(fence, {}, head.position, finished=True, counts=head.counts)
        shape = ";".join(f"{f.name}:{f.type}" for f in write.dataset.schema) + f"|{write.mode.value}|{write.key}"
        resumes = head is not None and same and head.state == "running" and _goes_on(write, shape, head)
        checkpoints = ledger.splits(write.sync, write.stream) if resumes else {}
        previous = head.position if head is not None and head.state != "discarded" else None
        spec = {"shape": shape} | written_how(write) | remember
        spec |= self._noted(write, topic, head.spec if head is not None and checkpoints else None)
        ledger.put(write.sync, write.stream, "", Head(write.run, 1, fence, "running", spec, previous), _now())
        if checkpoints:
            ledger.raise_fence(write.sync, write.stream, fence)
        else:
            ledger.forget_splits(write.sync, write.stream)
            if same and not write.follows:
                ledger.quarantine.forget(write.sync, write.stream, write.run)
        self._store(pen)
        counts = head.counts if head is not None and same else Counts()
        return Opened(fence, checkpoints, previous, counts=counts, changes=settled.changes)

    def _make(self, write: Write, topic: str) -> None:
        """Make the topic of a stream, which is not there."""
        self._cluster.create(topic, self._settings.partitions, compacted=write.mode is WriteMode.UPSERT)

    def _settled(self, write: Write, head: Head | None) -> tuple[Settled, dict[str, Any]]:
        """What is done about a schema that has changed, and what to remember."""
        return settled_for(self._ledger, write, head)

    def _noted(self, write: Write, topic: str, before: Mapping[str, Any] | None) -> dict[str, Any]:
        """What a stream needs to know until it is finished; `before`: what it noted when it goes on."""
        if write.mode is not WriteMode.REPLACE:
            return {}
        return {"ends": before["ends"] if before is not None else self._ends(topic)}

    def _shown(self, landing: Landing, head: Head) -> Mapping[str, Any]:
        """Let everybody see what was written, and what to remember: a replace deletes the messages before it."""
        if landing.write.mode is WriteMode.REPLACE:
            ends = {int(partition): int(offset) for partition, offset in head.spec["ends"].items()}
            self._cluster.delete_before(landing.topic, ends)
        return head.spec

    def _able(self, write: Write) -> None:
        if write.mode not in self.modes():
            modes = ", ".join(mode.value for mode in self.modes())
            raise InvalidPlanError(
                f"topics cannot be written by {write.mode.value}", path=write.stream, hint=f"valid modes: {modes}"
            )
        if write.mode is WriteMode.UPSERT and not write.key:
            raise InvalidPlanError("upsert needs a key, which is the message key", path=write.stream, hint="--key ID")
        if write.deletes is not Deletes.IGNORE and not write.incremental:
            raise InvalidPlanError(
                "a topic does not know which rows it has, so rows that stay away from a full read cannot be found",
                path=write.stream, hint="deletes: ignore, or read the source's changes",
            )  # fmt: skip

    def _encoder(self, write: Write) -> Encoder:
        settings = self._settings.topic(write.dataset.name)
        return Encoder(settings, write.dataset.schema, write.key, settings.topic, self._registered.registry)

    def _ends(self, topic: str) -> dict[str, int]:
        with closing(self._cluster.consumer()) as consumer:
            bounds = self._cluster.bounds(consumer, topic, self._cluster.partitions(topic))
        return {str(partition): high for partition, (_, high) in bounds.items()}

    def begin(self, write: Write, splits: Sequence[Split]) -> None:
        """See Sink.begin."""
        with self._lock:
            landing = self._landings[write.stream]
            self.hold(landing)
            self._ledger.forget_splits(write.sync, write.stream)
            for split in splits:
                head = Head(write.run, 1, landing.fence, "running", split.spec)
                self._ledger.add(write.sync, write.stream, split.id, head, _now())
            self._store(landing.pen)

    def session(self, write: Write, split: Split) -> Session:
        """See Sink.session."""
        return KafkaSession(self, self._landings[write.stream], split)

    def reopen(self, write: Write) -> Opened:
        """See Sink.reopen."""
        with self._lock:
            landing = self._landings[write.stream]
            self._ledger.load()
            self._stale = False
            self.hold(landing, fresh=False)
            landing.pen.take_over()
            self._ledger.load()
            head = self.hold(landing, fresh=False)
            checkpoints = self._ledger.splits(write.sync, write.stream)
            return Opened(landing.fence, checkpoints, head.position, head.finished, head.counts)

    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """See Sink.finish. A replace deletes the messages that were there before it."""
        with self._lock:
            landing = self._landings[write.stream]
            head = self.hold(landing)
            if head.finished:
                return Written()
            crash_point("in_finish")
            spec = self._shown(landing, head)
            crash_point("after_swap")
            done = replace(head, spec=spec, state="finished", position=position, counts=counts)
            self._ledger.change(write.sync, write.stream, "", done, _now())
            self._ledger.forget_splits(write.sync, write.stream)
            self._store(landing.pen)
            return Written()

    # ---- for sessions

    def hold(self, landing: Landing, *, fresh: bool = True) -> Head:
        """The stream's head; raises FencedError if its fence is not ours. Transactions see to that by themselves; where
        there are none the ledger is read again."""
        with self._lock:
            if fresh:
                self._stale = self._stale or not landing.pen.transactional
                self._fresh()
            head = self._ledger.head(landing.write.sync, landing.write.stream)
            if head is None or head.fence != landing.fence:
                raise fenced(landing.write.stream)
            return head

    def keep(self, landing: Landing, split: Split, rows: Sequence[BadRow], counts: Counts) -> None:
        """Quarantine rows with the next commit; rows stored later have greater numbers, since the counts grow."""
        write = landing.write
        first = f"{write.run}-{write.stream}-{split.id}-{counts.quarantined + counts.repaired:09d}"
        with self._lock:
            self._fresh()
            self._ledger.quarantine.add(
                sync=write.sync, run=write.run, stream=write.stream, first=first, rows=rows, at=_now()
            )

    def commit(self, landing: Landing, checkpoint: Checkpoint) -> None:
        """Commit what was sent, with the checkpoint."""
        write = landing.write
        with self._lock:
            self.hold(landing)
            if checkpoint.quarantine:
                self.keep(landing, checkpoint.split, checkpoint.quarantine, checkpoint.counts)
            if checkpoint.settled:
                self._ledger.quarantine.settle(checkpoint.settled)
            self._ledger.advance(write.sync, write.stream, landing.fence, checkpoint, _now())
            self._store(landing.pen)

    def forget(self) -> None:
        """Changes of the ledger that were not committed do not hold: it is read again when it is next needed."""
        self._stale = True

    def _fresh(self) -> None:
        if self._stale:
            self._ledger.load()
            self._stale = False

    def _store(self, pen: Pen) -> None:
        try:
            pen.begin()
            self._ledger.flush(pen)
            pen.commit()
        except BaseException:
            self._stale = True
            pen.abort()
            raise

    # ---- quarantine

    def dirty(self, which: Dirty) -> list[dict[str, Any]]:
        """See Sink.dirty."""
        with self._lock:
            if not self._ledger.there():
                return []
            self._ledger.load()
            return self._ledger.quarantine.rows(which)

    def fix(self, fixes: Sequence[Fix]) -> int:
        """See Sink.fix."""
        with self._lock:
            pen = Pen(self._cluster, "fix")
            try:
                self._ledger.load()
                done = self._ledger.quarantine.fix(fixes)
                self._store(pen)
                return done
            finally:
                pen.close()

    def replaying(self, sync: str, stream: str) -> dict[str, Any]:
        """See Sink.replaying."""
        with self._lock:
            if not self._ledger.there():
                return {}
            self._ledger.load()
            head = self._ledger.head(sync, stream)
        if head is None or "key" not in head.spec:
            return {}
        told = {name: head.spec.get(name) for name in TOLD}
        return {**told, "mode": head.spec["write"], "run": head.run, "finished": head.finished}

    def undo(self, dataset: str) -> int:
        """See Sink.undo: messages that were deleted are gone."""
        raise InvalidPlanError(f"Kafka keeps no generation of {dataset!r} that could be put back")

    def close(self) -> None:
        """See Sink.close."""
        for pen in (*self._control.values(), *(landing.pen for landing in self._landings.values())):
            pen.close()
        self._control.clear()
        self._registered.close()
        self._cluster.close()


def _goes_on(write: Write, shape: str, head: Head) -> bool:
    """Whether the checkpoints of an unfinished run hold for this attempt. Raises InvalidPlanError for an append whose
    rows would come twice."""
    if write.incremental or (head.spec.get("shape") == shape and head.spec.get("recipe") == write.recipe):
        return True
    if write.mode is WriteMode.APPEND:
        raise InvalidPlanError(
            "the steps or the source's schema changed while a run was unfinished, and some of its rows were sent",
            path=write.stream,
            hint="put the steps back and run the same command again, or run with --restart: it sends all rows anew",
        )
    return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
