"""Puts quarantined rows in again: through the steps from the one that refused them, into the sink, exactly once.

Rows go in the order in which they came, in small chunks; a chunk's data and what became of its rows are one commit. A
chunk in which something is refused is undone and halved, until each row that cannot go in stands alone with its cause.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

import pyarrow as pa

from tongqu.core.connector import Session, Sink
from tongqu.core.data import BadRow, Checkpoint, Counts, Split, Write, Written
from tongqu.core.dirty import OPEN, REPLAYED, STILL_BAD, SUPERSEDED, Dirty, Settled
from tongqu.core.errors import BalanceError, RefusedRowsError, SupersededError
from tongqu.core.kernels import pc
from tongqu.engine.following.net import key_texts
from tongqu.engine.following.steps import INCOMPLETE
from tongqu.engine.segment import Outcome
from tongqu.kit.faults import crash_point
from tongqu.kit.originals import restored
from tongqu.kit.unsent import lacks_of

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
    follows: Follows | None = None
    """How rows go in that are changes of a log; None for others."""


@dataclass(frozen=True)
class Follows:
    """Changes of a log, of which `replay` is given each key once. `key` are the columns of the rows that are copied
    into the target's key; `copies` tells of each column at the sink which column of the rows it is; `needs` are the
    columns that steps look at; `removes`: a row that steps leave out now is taken out of the target."""

    key: tuple[str, ...]
    copies: Mapping[str, str]
    needs: Collection[str] = ()
    removes: bool = False


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
        lacks = _lacks(back.rows, self.way.shape)
        if lacks is None:
            self._halves(entries)
            return
        rows = back.rows.replace_schema_metadata() if lacks_of(self.way.shape) else back.rows
        outcome, refused = self._through(rows, lacks)
        written = Written()
        if not refused and outcome.rows.num_rows:
            written, bad = self._written(outcome.rows, lacks)
            refused = [*bad]
        if refused and len(entries) > 1:
            self._halves(entries)
            return
        if refused:
            self.session.abort()
            written, outcome = Written(), Outcome(outcome.rows.slice(0, 0))
            settled += [_again(good[0].id, refused[0])]
        else:
            _balanced(written, outcome.rows.num_rows, self.way.write.stream)
            written.deleted += self._left_out(rows, outcome.rows)
            settled += [Settled(entry.id, REPLAYED) for entry in good]
        self._commit(written, outcome, settled, len(entries))

    def _halves(self, entries: Sequence[Entry]) -> None:
        self.session.abort()
        middle = len(entries) // 2
        self.put(entries[:middle])
        self.put(entries[middle:])

    def _written(self, rows: pa.Table, lacks: Collection[str]) -> tuple[Written, Sequence[BadRow]]:
        """Write rows; those of a log that lack columns change the others of the target's row only."""
        follows = self.way.follows
        if not lacks or follows is None:
            written = self.session.write(rows)
            return written, written.refused
        kept = [name for name in rows.schema.names if follows.copies.get(name) not in lacks]
        try:
            there = self.session.amend(rows.select(kept))
        except RefusedRowsError as error:
            return Written(), [BadRow("sink", error.code, error.field, None, "", error.message)]
        if there < rows.num_rows and self.keep:
            message = "the target lacks this row, and the log did not send all of its columns"
            return Written(), [BadRow("sink", INCOMPLETE, self.way.write.key[0], None, "", message)]
        return Written(updated=rows.num_rows), ()

    def _left_out(self, rows: pa.Table, out: pa.Table) -> int:
        """Take the rows out of the target that the steps leave out now; how many were there."""
        follows, key = self.way.follows, self.way.write.key
        if follows is None or not follows.removes or self.way.through is None or not rows.num_rows:
            return 0
        schema = self.way.write.dataset.schema
        arrays: list[Any] = [
            rows.column(name).cast(schema.field(own).type) for name, own in zip(follows.key, key, strict=True)
        ]
        keys = pa.Table.from_arrays(arrays, names=list(key))
        gone = keys.filter(pc.invert(pc.is_in(key_texts(keys, key), value_set=_joined(key_texts(out, key)))))
        return self.session.remove(gone) if gone.num_rows else 0

    def _through(self, rows: pa.Table, lacks: Collection[str]) -> tuple[Outcome, list[BadRow]]:
        needed = sorted(set(lacks).intersection(self.way.follows.needs if self.way.follows else ()))
        if needed:
            message = f"the log did not send {needed[0]!r}, which did not change and which a step needs"
            return Outcome(rows.slice(0, 0)), [BadRow("source", INCOMPLETE, needed[0], None, "", message)]
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


def _lacks(rows: pa.Table, shape: pa.Schema) -> tuple[str, ...] | None:
    """The columns that nobody sent, and nobody has mended since; None if some of the rows lack others than the rest."""
    noted = [name for name in lacks_of(shape) if name in rows.schema.names]
    missing = [name for name in noted if rows.column(name).null_count]
    mixed = any(rows.column(name).null_count < rows.num_rows for name in missing)
    return None if mixed else tuple(missing)


def _joined(texts: Any) -> Any:
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


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
