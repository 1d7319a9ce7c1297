"""Puts quarantined rows in again: through the steps from the one that refused them, into the sink, exactly once.

Rows go in the order in which they came, in small chunks; a chunk's data and what became of its rows are one commit. A
chunk in which something is refused is undone and halved, until each row that cannot go in stands alone with its cause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Event

import pyarrow as pa

from tongqu.core.connector import Session, Sink
from tongqu.core.data import BadRow, Checkpoint, Counts, Split, Write, Written
from tongqu.core.dirty import OPEN, REPLAYED, STILL_BAD, SUPERSEDED, Dirty, Settled
from tongqu.core.errors import BalanceError, SupersededError
from tongqu.engine.segment import Outcome
from tongqu.kit.faults import crash_point
from tongqu.kit.originals import restored

AT_ONCE = 500
"""Rows of one commit."""


@dataclass(frozen=True)
class Entry:
    """A row that goes in again: its id in the quarantine and the version that goes in, as `kit.originals` writes it."""

    id: str
    row: str


@dataclass(frozen=True)
class Way:
    """How rows of one stream, step and shape go in: `through` are the steps from the one that refused them (None: they
    were refused at the sink), `write` what the sink is asked, with the schema that `through` gives."""

    sink: Sink
    write: Write
    shape: pa.Schema
    through: Callable[[pa.Table], Outcome] | None = None


@dataclass
class Replayed:
    """What became of the rows, and what the sink did."""

    settled: list[Settled] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def count(self, state: str) -> int:
        """How many rows ended in this state."""
        return sum(one.state == state for one in self.settled)


def replay(way: Way, entries: Sequence[Entry], new_id: Callable[[], str], stop: Event) -> Replayed:
    """Put the rows in; returns early, between two commits, when stopping was asked for.

    Killed at any moment, each row has either gone in and is settled, or neither: calling again goes on with the rest.
    Raises BusyError if a run writes the target, FencedError if another process replays the same rows.
    """
    done = Replayed()
    way = _opened(way, new_id, done.counts)
    entries = _left(way, entries, done)
    split = Split("0", way.write.stream)
    way.sink.begin(way.write, [split])
    with closing(way.sink.session(way.write, split)) as session:
        unit = _Unit(way, session, split, done)
        for start in range(0, len(entries), AT_ONCE):
            if stop.is_set():
                break
            unit.put(entries[start : start + AT_ONCE])
    _finish(way, done.counts)
    return done


def tried(way: Way, entries: Sequence[Entry], new_id: Callable[[], str]) -> dict[str, Settled]:
    """What would become of the rows that could not go in, by id: each is tried against steps and sink and undone.

    Only for sinks with transactions.
    """
    done = Replayed()
    way = _opened(way, new_id, done.counts)
    split = Split("0", way.write.stream)
    way.sink.begin(way.write, [split])
    with closing(way.sink.session(way.write, split)) as session:
        unit = _Unit(way, session, split, done, keep=False)
        for start in range(0, len(entries), AT_ONCE):
            unit.put(entries[start : start + AT_ONCE])
    _finish(way, Counts())
    return {one.id: one for one in done.settled if one.state != REPLAYED}


def _left(way: Way, entries: Sequence[Entry], done: Replayed) -> Sequence[Entry]:
    """The rows that are still open: a run that was killed may have been completed just now, and its rows with it."""
    if not done.counts.written:
        return entries
    wanted = Dirty(ids=tuple(entry.id for entry in entries), limit=len(entries))
    states = {str(row["id"]): str(row["state"]) for row in way.sink.dirty(wanted)}
    done.settled += [Settled(entry.id, REPLAYED) for entry in entries if states.get(entry.id) == REPLAYED]
    return [entry for entry in entries if states.get(entry.id) in OPEN]


def _opened(way: Way, new_id: Callable[[], str], counts: Counts) -> Way:
    """Begin a run of the replay; one that was killed is completed first, as far as its commits had come, and what
    becomes visible by that is added to the counts."""
    sink = way.sink
    started = sink.start(way.write.sync, new_id(), False)
    write = replace(way.write, run=started.run)
    opened = sink.open(write)
    if started.attempt > 1:
        if not opened.finished:
            counts.inserted += sink.finish(write, Counts(), None).inserted
        sink.end(write.sync, write.run, [write])
        started = sink.start(write.sync, new_id(), False)
        write = replace(write, run=started.run)
        sink.open(write)
    crash_point("after_open")
    return replace(way, write=write)


def _finish(way: Way, counts: Counts) -> None:
    crash_point("before_finish")
    way.sink.finish(way.write, counts, None)
    crash_point("after_finish")
    way.sink.end(way.write.sync, way.write.run, [way.write])


@dataclass
class _Unit:
    way: Way
    session: Session
    split: Split
    done: Replayed
    keep: bool = True

    def put(self, entries: Sequence[Entry]) -> None:
        """Bring these rows to their end in one commit, or in more and smaller ones."""
        back = restored([entry.row for entry in entries], self.way.shape)
        settled = [
            Settled(entries[place].id, STILL_BAD, "cast.invalid", name, None, message)
            for place, (name, message) in back.failures.items()
        ]
        good = [entries[place] for place in back.places]
        outcome, refused = self._through(back.rows)
        written = Written()
        if not refused and outcome.rows.num_rows:
            written = self.session.write(outcome.rows)
            refused = written.refused
        if refused and len(entries) > 1:
            self.session.abort()
            middle = len(entries) // 2
            self.put(entries[:middle])
            self.put(entries[middle:])
            return
        if refused:
            self.session.abort()
            written, outcome = Written(), Outcome(outcome.rows.slice(0, 0))
            settled += [_again(good[0].id, refused[0])]
        else:
            _balanced(written, outcome.rows.num_rows, self.way.write.stream)
            settled += [Settled(entry.id, REPLAYED) for entry in good]
        self._commit(written, outcome, settled, len(entries))

    def _through(self, rows: pa.Table) -> tuple[Outcome, list[BadRow]]:
        if self.way.through is None or rows.num_rows == 0:
            return Outcome(rows if self.way.through is None else rows.slice(0, 0)), []
        outcome = self.way.through(rows)
        return outcome, [row for row in outcome.bad if row.refused]

    def _commit(self, written: Written, outcome: Outcome, settled: Sequence[Settled], rows: int) -> None:
        counts = self.done.counts
        repairs = [row for row in outcome.bad if not row.refused]
        counts.read += rows
        counts.repaired += len(repairs)
        for name in ("inserted", "updated", "deleted", "unchanged", "merged", "bytes"):
            setattr(counts, name, getattr(counts, name) + getattr(written, name))
        if self.keep:
            crash_point("before_commit")
            position = {"replayed": len(self.done.settled) + len(settled)}
            self.session.commit(Checkpoint(self.split, position, replace(counts), quarantine=repairs, settled=settled))
            crash_point("after_commit")
        else:
            self.session.abort()
        self.done.settled += settled


def _again(id: str, bad: BadRow) -> Settled:
    state = SUPERSEDED if bad.code == SupersededError.code else STILL_BAD
    return Settled(id, state, bad.code, bad.field, bad.value, bad.message)


def _balanced(written: Written, rows: int, stream: str) -> None:
    total = written.inserted + written.updated + written.deleted + written.unchanged + written.merged
    if total != rows:
        raise BalanceError(
            f"{rows} rows went into the sink and it accounts for {total}",
            path=stream,
            hint="nothing of this chunk was committed; please report it with the run's log",
        )
