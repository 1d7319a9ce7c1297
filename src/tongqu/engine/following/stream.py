"""One followed stream: its open changes, its place in the sink, its durable position."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.connector import Session
from tongqu.core.data import BadRow, Batch, Checkpoint, Counts, Dataset, Opened, Position, Split, Write
from tongqu.core.errors import FencedError, LostPositionError, SchemaError, TongquError
from tongqu.core.events import Emit, SchemaChanged
from tongqu.core.log import CONTROL
from tongqu.engine.chain import Chain
from tongqu.engine.following import lost
from tongqu.engine.following.apply import Applying
from tongqu.engine.following.filling import Fill, wants
from tongqu.engine.following.job import SPLIT, Asked
from tongqu.engine.following.lag import Latency, commits
from tongqu.engine.following.pieces import Pieces
from tongqu.engine.following.steps import Steps
from tongqu.kit.faults import crash_point

if TYPE_CHECKING:
    from tongqu.engine.job import Stream
    from tongqu.engine.report import StreamReport

DURABLE_SECONDS = 0.2
"""Commits may be relaxed for so long after one that was not."""
LAZY_SECONDS = 5.0
"""A stream without rows stores how far the log was read at most so often."""


@dataclass
class Followed:
    """One stream between the log and its sink; used by one thread at a time.

    `position` and `counts` are committed, and `durable` is the position that not even a crash of the sink's server
    undoes: only that may be acknowledged. `ahead` is the position that was durable when the log was opened: what comes
    again up to it, because another stream was not so far, is dropped.
    """

    stream: Stream
    write: Write
    report: StreamReport
    asked: Asked
    emit: Emit
    changes: bool
    source_key: tuple[str, ...]
    make: Callable[[Stream], Write]
    """The write of a stream whose dataset has changed."""
    split: Split = field(default_factory=lambda: Split(SPLIT, ""))
    position: Position = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    durable: Position = field(default_factory=dict)
    durable_at: float = 0.0
    ahead: Position | None = None
    latency: Latency = field(default_factory=Latency)
    pieces: Pieces = field(default_factory=Pieces)
    moved_at: float = 0.0
    told_at: float = 0.0
    told: int = -1
    failed: TongquError | None = None
    """What it met that the others did not: it stays where it is, and they go on."""
    lost: bool = False
    """Whether the log has lost it, so that it need not be kept for it."""
    warned_at: float = 0.0
    fill: Fill = lambda stream, columns, renamed: None
    """Has the rows that were there come again where they may have values in new columns."""

    def __post_init__(self) -> None:
        self._session: Session | None = None
        self._beside: list[tuple[Sequence[BadRow], Counts | None]] = []
        self._chains: list[Chain] = []
        self._compile()

    def _compile(self) -> None:
        self._steps = Steps(self.stream, self.write, self.source_key)
        self._applying = Applying(
            self.stream, self.write, self._steps, changes=self.changes, source_key=self.source_key
        )
        self.schema = self.stream.source_dataset.schema

    def opened(self, opened: Opened, *, durable: bool = True) -> None:
        """Go on from what the sink has stored; `durable`: the sink has committed something since, without relaxing."""
        stored = opened.checkpoints[SPLIT]
        self.split, self.counts = stored.split, stored.counts
        self.position = stored.position if stored.position is not None else dict(stored.split.spec["after"])
        self.ahead = self.position
        self.durable_at = 0.0
        if durable or not self.stream.sink.relaxes:
            self.durable = self.position
        self.moved_at = time.monotonic()
        self.report.counts = replace(self.counts)
        self._applying.blocked.load()

    @property
    def rejoined(self) -> bool:
        """Whether its table was read anew, and nothing of the log behind that has come yet."""
        return lost.rejoined(Checkpoint(self.split, self.position, self.counts))

    @property
    def waiting(self) -> bool:
        """Whether anything waits to be made durable."""
        return bool(self.pieces or self._beside)

    def take(self, batch: Batch) -> None:
        """Keep rows until their transaction has ended; raises SchemaError for rows of another schema."""
        rows = batch.rows
        columns = rows.schema.names[: len(self.schema.names)]
        if columns != self.schema.names or rows.schema.types[: len(columns)] != self.schema.types:
            differ = sorted(set(map(str, rows.schema)) ^ set(map(str, self.schema)))
            raise SchemaError(
                f"the log gives rows of {self.stream.source_dataset.name!r} with other columns than it said: "
                f"{', '.join(one for one in differ if one.partition(':')[0] not in CONTROL) or 'another order'}",
                path=self.stream.name,
                hint="nothing of them was written; run the same command again, which reads the schema anew",
            )
        if rows.num_rows:
            self.pieces.add(rows)
        if batch.bad or batch.counts is not None:
            self._beside.append((batch.bad, batch.counts))

    def commit(self, cut: Position, *, overtaken: bool, position: bool = True, firm: bool = False) -> None:
        """Make everything up to the cut durable; `overtaken`: it was before, but for rows that were read again. Without
        `position` the rows alone, which come again after a crash; `firm`: never relaxed."""
        if overtaken:
            self.overtake()
            position = False
        if not self.waiting and not position:
            return
        self._applying.look(self.pieces.tables())
        reached = cut if position else self.position
        try:
            seen = self._committed(reached, firm=firm)
        except FencedError:
            if not self._applying.settled:
                raise
            self._opened_session().abort()  # perhaps rows of the quarantine went in, or were given up, just now
            self._applying.blocked.load()
            seen = self._committed(reached, firm=firm)
        crash_point("after_commit")
        self._steps.committed()
        self.latency.saw(seen, self.asked.around.now())
        self.report.counts = replace(self.counts)
        self.moved_at = time.monotonic()
        self.drop()
        self.asked.tally(self)

    def _committed(self, reached: Position, *, firm: bool) -> list[Any]:
        """Write what waits and commit it at this position; when its changes were committed at the source."""
        session = self._opened_session()
        applying = self._applying
        applying.begin(self.counts)
        for bad, counts in self._beside:
            applying.beside(bad, counts)
        seen: list[Any] = []
        for table in self.pieces.tables():
            if table is None:
                applying.clear(session)
                continue
            applying.rows(session, table)
            when = commits(table)
            if when is not None:
                seen.append(when)
        crash_point("before_commit")
        now = time.monotonic()
        relaxed = self.stream.sink.relaxes and not firm and now - self.durable_at < DURABLE_SECONDS
        checkpoint = Checkpoint(self.split, reached, applying.counts, False, applying.bad, applying.settled, relaxed)
        session.commit(checkpoint)
        if not relaxed:
            self.durable, self.durable_at = reached, now
        self.counts, self.position = applying.counts, reached
        late = applying.overtaken()
        if late:
            try:
                session.commit(Checkpoint(self.split, reached, self.counts, settled=late))
            except FencedError:  # somebody settled one of them first; a fence that is lost is met by the next commit
                session.abort()
        return seen

    def overtake(self) -> None:
        """Forget what waits, but for rows that were read again."""
        self.pieces.overtaken()
        self._beside.clear()

    def drop(self) -> None:
        """Forget what waits."""
        self.pieces.clear()
        self._beside.clear()

    def lose(self, error: TongquError) -> LostPositionError:
        """Store durably that the log has lost this stream; what it says of it from now on."""
        self.drop()
        told = lost.paused(self.stream, error)
        self._opened_session().commit(Checkpoint(self.split, lost.marked(self.position, told), self.counts))
        crash_point("after_loss")
        self.lost = True
        return told

    def _opened_session(self) -> Session:
        if self._session is None:
            self._session = self.stream.sink.session(self.write, self.split)
        return self._session

    def rest(self) -> None:
        """Give the session's connection back until rows come again."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def altered(self, rows: pa.Schema) -> None:
        """The source's table has this schema from here on: bring steps and target to it, as the policy says. Raises
        SchemaError or what the steps refuse; nothing of the new rows is written then."""
        if rows.equals(self.schema, check_metadata=True):
            return
        self.rest()
        before = self.stream.source_dataset
        key = tuple(name for name in before.key if name in rows.names)
        if len(key) != len(before.key):
            raise SchemaError(
                f"{before.name!r} has lost a column of its key ({', '.join(before.key)})",
                path=self.stream.name,
                hint="name another key and sync the table anew: sync … --restart",
            )
        dataset = Dataset(before.name, rows, key, before.cursor, before.title, before.rows, before.indexes)
        chain = self.stream.chain
        if chain is not None:
            chain = chain.over(dataset)
            self._chains.append(chain)
        stream = replace(self.stream, source_dataset=dataset, chain=chain)
        write = self.make(stream)
        new = [name for name in rows.names if name not in before.columns]
        if new and wants(stream):  # first: whoever dies behind it finds that it was asked for
            self.fill(stream, new, not set(before.columns) <= set(rows.names))
        opened = stream.sink.open(write)
        self.stream, self.write = stream, write
        self._steps.close()
        self._compile()
        self.report.schema = (*self.report.schema, *opened.changes)
        for change in opened.changes:
            self.emit(SchemaChanged(write.run, stream.name, change))
        stored = opened.checkpoints[SPLIT]
        self.split = stored.split
        self._applying.blocked.load()

    def forget(self) -> None:
        """Drop what is not durable, after an error; the stored position is read anew."""
        self.drop()
        if self._session is not None:
            self._session.close()
            self._session = None

    def close(self) -> None:
        """Release the session and the steps' database."""
        self.forget()
        self._steps.close()
        for chain in self._chains:
            chain.close()


def lowest(positions: Sequence[Position], reached: Callable[[Position, Position], bool]) -> Position:
    """The position that all streams have come to."""
    found = positions[0]
    for one in positions[1:]:
        if not reached(one, found):
            found = one
    return found
