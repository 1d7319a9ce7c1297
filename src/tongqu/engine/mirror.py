"""A copy of a dataset that follows the dataset's own log: what rows look up is as it was when they were processed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING

import pyarrow as pa

from tongqu.core.data import Batch, Dataset, Position, Read
from tongqu.core.errors import (
    CancelledError,
    InvalidPlanError,
    LostPositionError,
    QualityError,
    SchemaError,
    TongquError,
)
from tongqu.core.history import History
from tongqu.core.log import Follow, Log
from tongqu.engine.kept_rows import KeptRows
from tongqu.engine.kept_versions import KeptVersions, versioned
from tongqu.engine.own_log import OwnLog
from tongqu.meaning.versions import EVER

if TYPE_CHECKING:
    from tongqu.core.connector import Source

IDLE_SECONDS = 10.0
"""So often the log is read although no rows come that look anything up: the system need not keep it for longer."""
_STOP_SECONDS = 10.0
_NOTE_SECONDS = 1.0
"""So often at most a place is noted up to which the log told nothing of the dataset."""
_TOGETHER = 65_536
"""Changes from which on what has come is made durable before more is read."""
_SHARE = 16
"""Versions are forgotten when so large a part of the time for which they are kept has passed."""
_TOLD = 100_000
"""Changed rows that are remembered for those who follow the copy; beyond them they take all of it."""


class Mirror:
    """A dataset's rows in a file, with the position of the log that they are of, in one transaction: after a crash the
    log is read from there, and neither the rows nor any change twice. Safe for several threads; one process has it.

    `caught_up(since)` returns when everything is in it that was committed in the dataset before `since`. It asks for
    the end of the log and reads up to there: a question and, if there is anything new, one reading of the log. A thread
    of its own does the same each 10 seconds. Raises what the log raises, BusyError while another process has the file,
    CancelledError when stopped. Where the system has lost the log behind the position all rows are read again, since
    what is looked up is what is there now.

    `version` grows with every change; `changed` tells the rows that differ from an earlier version.

    With a `history` all versions of the rows are kept; `whole` and `among` give them with two columns more (`given`).
    Everything that was committed before `reached` is told then, and between `gaps` (microseconds since 1970) nobody
    knows what held. What ended longer ago than wanted before the newest row that was looked up (`answered`) is
    forgotten when the rows that were looked up are `committed`.
    """

    def __init__(
        self, source: Source, dataset: Dataset, place: tuple[Path, str], stop: Event, *,
        anew: bool = False, history: History | None = None, left: Callable[[str, str], None] = lambda old, new: None,
    ):  # fmt: skip
        """`place`: the file, and the stable name of the log. `anew`: what was kept is forgotten. `left`: see
        OwnLog."""
        if not dataset.key:
            raise InvalidPlanError(
                f"{dataset.name!r} has no key by which its changes could be followed",
                path=dataset.name,
                hint="give its source a `key`, or read it with `mode: full` and `refresh`",
            )
        self.dataset = dataset
        self.history = history
        self.given = dataset if history is None else versioned(dataset)
        self.reached = self._answered = self._let_go = EVER
        self.version = 0
        self._source, self._stop, self._anew, self._left = source, stop, anew, left
        self._path, self._name = place
        self._lock, self._halt = RLock(), Event()
        self._open: tuple[Log, KeptRows] | None = None
        self._since = self._noted = float("-inf")
        self._told: list[tuple[int, pa.Table]] = []
        self._whole = 0
        """The newest version of which it is not known what differs in it from the one before."""
        self._keeper: Thread | None = None

    # ---- for those who look things up

    def caught_up(self, since: float) -> None:
        """See the class. `since` is an instant of the monotonic clock, now or before."""
        with self._lock:
            log, kept = self._opened()
            if self._since >= since:
                return
            now, clock = time.monotonic(), _now()
            try:
                self._read(log, kept)
            except LostPositionError:
                log = self._own().instead(log, kept.position)
                self._open = (log, kept)
                kept.unknown()
                self._read(log, kept)
            self._since = now
            if self.history is not None and isinstance(kept, KeptVersions):
                self.reached = max(self.reached, max(clock, kept.newest) - self.history.lateness)
                kept.come_to(self.reached)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nothing is read from the log inside the block."""
        with self._lock:
            yield

    def whole(self) -> tuple[int, Iterator[pa.Table]]:
        """The version, and its rows with the dataset's columns, which may be taken later and by another thread."""
        with self._lock:
            return self.version, self._opened()[1].whole()

    def changed(self, version: int) -> pa.Table | None:
        """The rows that changed behind a version, as they were and as they are; None where that is not known any more,
        or is all."""
        with self._lock:
            if version < self._whole:
                return None
            tables = [rows for number, rows in self._told if number > version]
            return pa.concat_tables(tables) if tables else self.dataset.schema.empty_table()

    def among(self, columns: Sequence[str], values: pa.Table) -> pa.Table:
        """See KeptRows.among."""
        with self._lock:
            return self._opened()[1].among(columns, values)

    def gaps(self) -> list[tuple[int, int]]:
        """See the class."""
        with self._lock:
            kept = self._opened()[1]
            return kept.gaps if isinstance(kept, KeptVersions) else []

    def answered(self, newest: int) -> None:
        """Rows up to this instant were looked up."""
        with self._lock:
            self._answered = max(self._answered, newest)

    def committed(self) -> None:
        """The rows that were looked up until now are written: versions that ended long before the newest of them can be
        forgotten. It is done now and then."""
        if self.history is None:
            return
        with self._lock:
            before = self._answered - self.history.retention
            if self._open is not None and before - self._let_go > self.history.retention // _SHARE:
                kept = self._open[1]
                assert isinstance(kept, KeptVersions)  # noqa: S101  # made with the history
                kept.let_go(before)
                self._let_go = before

    def begin(self) -> None:
        """Follow the log from now on, in the background."""
        if self._keeper is None:
            self._keeper = Thread(target=self._keep, name="tongqu-side", daemon=True)
            self._keeper.start()

    def close(self) -> None:
        """Stop following and release the file; may be called twice. What the system keeps of the log stays kept."""
        self._halt.set()
        if self._keeper is not None:
            self._keeper.join(_STOP_SECONDS)
        with self._lock:
            if self._open is not None:
                log, kept = self._open
                self._open = None
                kept.close()
                log.close()

    # ---- inside

    def _opened(self) -> tuple[Log, KeptRows]:
        if self._open is None:
            self._stopped()
            kept = self._kept()
            try:
                log = self._own().of(kept.position or kept.left)
                if kept.fresh or kept.left is not None:  # what the system keeps is of other rows
                    log = self._own().instead(log, kept.left)
            except BaseException:
                kept.close()
                raise
            self._anew, self._open = False, (log, kept)
        return self._open

    def _own(self) -> OwnLog:
        return OwnLog(self._source, self._name, [self.dataset], self._left)

    def _kept(self) -> KeptRows:
        wants = self.history
        if wants is None:
            return KeptRows(self._path, self.dataset, anew=self._anew)
        return KeptVersions(self._path, self.dataset, lateness=wants.lateness, always=wants.always, anew=self._anew)

    def _keep(self) -> None:
        while not self._halt.is_set():
            with suppress(TongquError):  # whoever looks something up next meets it, and says so
                self.caught_up(time.monotonic())
            self._halt.wait(IDLE_SECONDS)

    def _stopped(self) -> None:
        if self._halt.is_set() or self._stop.is_set():
            raise CancelledError(f"stopped while {self.dataset.name!r} was followed to look things up in")

    def _read(self, log: Log, kept: KeptRows) -> None:
        after = kept.position or self._load(log, kept)
        until = log.head()
        whole: list[Batch] = []
        held: list[Batch] = []
        if not log.reached(after, until):
            position = after
            for batch in _closed(log.read(Follow(after=after, until=until, stop=self._halt))):
                self._stopped()
                if batch.kind != "heartbeat":
                    held.append(batch)
                if batch.position is not None:
                    whole, held, position = [*whole, *held], [], batch.position
                    if sum(one.rows.num_rows for one in whole) >= _TOGETHER:
                        self._apply(kept, whole, position)
                        whole = []
            if whole or time.monotonic() - self._noted >= _NOTE_SECONDS:
                self._apply(kept, whole, position)
        self._stopped()
        log.acknowledge(kept.position or after)

    def _load(self, log: Log, kept: KeptRows) -> Position:
        """Read all rows, as of the beginning of the log where the system can, else later: what the log tells of them
        again does no harm, since they are kept by key."""
        position = log.begin()
        snapshot = log.snapshot()
        source = snapshot or self._source
        try:
            with kept.change(position):
                kept.clear()
                for split in source.splits(self.dataset, 1):
                    for batch in _closed(source.read(Read(self.dataset, split, stop=self._halt))):
                        self._stopped()
                        kept.insert(self._good(batch))
                self._stopped()
                kept.loaded(_now())
        finally:
            if snapshot is not None:
                snapshot.close()
        self._forgotten()
        return position

    def _good(self, batch: Batch) -> pa.Table:
        """The rows of a batch; a row that is missing would be a wrong answer for those that look for it."""
        refused = next((row for row in batch.bad if row.refused), None)
        if refused is not None:
            raise QualityError(
                f"{self.dataset.name!r} is looked up, and one of its rows is refused: {refused.message}",
                hint="mend the row at its source",
            )
        return pa.Table.from_batches([batch.rows])

    def _apply(self, kept: KeptRows, batches: Sequence[Batch], position: Position) -> None:
        """Whole transactions of the log, in one of the file."""
        pieces: list[pa.Table | None] = []
        for batch in batches:
            if batch.kind == "schema" and not batch.rows.schema.equals(self.dataset.schema, check_metadata=False):
                raise SchemaError(
                    f"the columns of {self.dataset.name!r}, which is looked up, are others than before",
                    path=self.dataset.name,
                    hint="run the pipeline again: it is read anew with its columns as they are now",
                )
            if batch.kind == "truncate":
                pieces.append(None)
            elif (rows := self._good(batch)).num_rows and batch.kind == "rows":
                pieces.append(rows)
        touched: list[pa.Table] | None = []
        with kept.change(position):
            if pieces:
                touched = kept.carry(_joined(pieces), _now())
        self._noted = time.monotonic()
        if touched is None:
            self._forgotten()
        elif touched:
            self.version += 1
            self._told.append((self.version, pa.concat_tables(touched)))
            while sum(one.num_rows for _, one in self._told) > _TOLD:
                self._whole = self._told.pop(0)[0]

    def _forgotten(self) -> None:
        """Nobody can tell what differs from before: all of it may."""
        self.version += 1
        self._whole, self._told = self.version, []


def _now() -> int:
    """The time by the clock here, in microseconds since 1970."""
    return time.time_ns() // 1000


def _joined(pieces: Sequence[pa.Table | None]) -> list[pa.Table | None]:
    """Tables that follow each other as one."""
    made: list[pa.Table | None] = []
    for emptied, run in groupby(pieces, key=lambda piece: piece is None):
        tables = [piece for piece in run if piece is not None]
        made.append(None if emptied else pa.concat_tables(tables, promote_options="default"))
    return made


def _closed(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches; whoever leaves before their end releases what they are read by."""
    try:
        yield from batches
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
