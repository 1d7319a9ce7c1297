"""Reads the redo of a database behind a place, window after window, and tells what was committed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import pyarrow as pa

from tongqu.connectors.oracle.log import database as server
from tongqu.connectors.oracle.log import mining
from tongqu.connectors.oracle.log.ddl import meaning
from tongqu.connectors.oracle.log.decoding import REPAIR, Change, Decoder
from tongqu.connectors.oracle.log.holding import MOST, Held
from tongqu.connectors.oracle.log.places import Place
from tongqu.connectors.oracle.log.redo_files import Redo, groups, lost, redo
from tongqu.connectors.oracle.log.session import RESYNC, Followed, GoneFileError, Session
from tongqu.connectors.oracle.log.statements import DDL
from tongqu.connectors.oracle.log.window import Commit, Windows
from tongqu.core.data import Batch
from tongqu.core.errors import (
    ConnectError,
    InvalidPlanError,
    LostPositionError,
    NotFoundError,
    SchemaError,
    TongquError,
)
from tongqu.core.log import Follow
from tongqu.kit.tables.system import Reach

_POLL, _SOON, _READY, _SAY = 0.5, 0.05, 0.05, 0.4
"""How long to wait between windows, also where an end is near, for the writer, and between signs of life; seconds."""
_FEW = 256
_STEP, _LEAST = 200_000, 1_000
_LONG, _SHORT = 2.0, 0.5
"""SCNs of a window at first, and at least; a window that takes so many seconds is too long, or could be longer."""
_AGAIN, _PATIENCE = 10, 0.5
"""How often, and after how many seconds, files are looked for that are being archived."""
_LOOK = 5.0
"""Seconds after which it is looked again whether the tables are those they were."""
_STUCK = 1_800.0
"""Seconds after which a transaction that does not end is told."""
_log = logging.getLogger(__name__)


@dataclass
class Ground:
    """What a log reads with: the way to the server, the tables, the connections that are asked and that mine, and a
    folder for what does not fit into memory."""

    reach: Reach
    followed: Sequence[Followed]
    asking: Session
    mining: Session
    folder: Path | None


@dataclass
class _Run:
    """Changes of one table that make a batch."""

    table: int
    changes: list[Change]


class Reading:
    """One call of `read`."""

    def __init__(self, ground: Ground, follow: Follow, settle: float):
        self._ground, self._follow, self._settle = ground, follow, settle
        self._asking, self._mining = ground.asking, ground.mining
        self._until = None if follow.until is None else Place.of(follow.until)
        self._windows, self._minutes = self._opened(Place.of(follow.after))
        self._decoders: dict[int, Decoder] = {}
        self._session = mining.Mining()
        self._redo: Redo | None = None
        self._groups: dict[int, int] = {}
        self._step = _STEP
        self._samples: deque[tuple[float, int]] = deque()
        self._held: Batch | None = None
        self._run = _Run(0, [])
        self._rows, self._behind, self._moved = 0, 0, False
        self._oldest: int | None = None
        self._since = 0.0

    def close(self) -> None:
        """Let go of what is held."""
        self._windows.held.close()

    def run(self) -> Iterator[Batch]:
        """Window after window, until it is to end."""
        follow, until = self._follow, self._until
        said, looked, few = monotonic(), monotonic(), False
        self._look()
        while not follow.stop.is_set() and not (until is not None and self._windows.place.reached(until)):
            if few:
                follow.ready(_READY)
            rows = 0
            for batch in self._window():
                rows += batch.rows.num_rows
                said = monotonic()
                yield batch
                if follow.stop.is_set():
                    return
            few = 0 < rows < _FEW
            if monotonic() - looked > _LOOK:
                self._look()
                self._stuck()
                looked = monotonic()
            ended = until is not None and self._windows.place.reached(until)
            if (ended and not rows) or monotonic() - said > _SAY:
                said = monotonic()
                one = self._ground.followed[0]
                empty = pa.RecordBatch.from_pylist([], schema=one.schema())
                yield Batch(one.dataset.name, empty, self._windows.place.position(), kind="heartbeat")
            if not (self._behind and self._moved):
                follow.stop.wait(_POLL if until is None else _SOON)

    def _look(self) -> None:
        """Lose tables that are others by now."""
        for at, error in self._others().items():
            self._lose(at, error)

    def _lose(self, table: int, error: TongquError) -> None:
        """Tell no more of a table, or raise the error. What came before has been given away."""
        windows, name = self._windows, self._ground.followed[table].dataset.name
        windows.gone.add(table)
        windows.place = windows.place.without(name)
        self._follow.lose(name, error)

    def _stuck(self) -> None:
        """Say so if one transaction keeps the redo from being thrown away. It is never given up by itself."""
        oldest, now = self._windows.held.oldest(), monotonic()
        if oldest is None or oldest != self._oldest:
            self._oldest, self._since = oldest, now
        elif now - self._since > _STUCK:
            self._since = now
            text = "a transaction that began at SCN %d is still open: its redo, and all behind it, must be kept"
            _log.warning(text, oldest)

    # ---- a window

    def _window(self) -> Iterator[Batch]:
        """The changes of the transactions whose commits a window settled; the last batch has the position."""
        with self._asking.look() as db:
            head, _ = server.now(db)
        settled = self._settled(head)
        first = self._windows.complete
        last = max(first, min(first + self._step, head))
        found = self._files(first, last)
        if self._follow.stop.is_set():
            return
        self._behind = head - last
        begun = monotonic()
        with self._mining.look() as db:
            tables, objects = self._ground.followed, list(self._windows.objects)
            sql = mining.asking(tables, objects, self._mining.container, db.dialect.literal)
            files = found.covering(first, last, db.where)
            self._session.start(db, self._mining.made, files, (first, last))
            self._windows.take(mining.rows(db, sql, self._follow.stop), db.where)
            if self._follow.stop.is_set():
                return
        self._unturned({one.online: one.sequence for one in files if one.online})
        took = monotonic() - begun
        self._step = max(_LEAST, self._step // 2) if took > _LONG else self._step * 2 if took < _SHORT else self._step
        finished = {thread: found.complete(thread) for thread in found.threads}
        ready = self._windows.settle(last, settled, found.threads, finished)
        self._moved = self._windows.complete > first
        yield from self._told(ready)

    def _settled(self, head: int) -> int:
        """An SCN whose redo is on disk: it was the head long enough ago. LGWR writes at least every three seconds
        (Database Concepts, "Log Writer Process")."""
        now = monotonic()
        self._samples.append((now, head))
        while len(self._samples) > 1 and self._samples[1][0] <= now - self._settle:
            self._samples.popleft()
        when, scn = self._samples[0]
        return scn if when <= now - self._settle else 0

    def _files(self, first: int, last: int) -> Redo:
        """The redo files; looked for again where logs were switched, and for some time where one is missing."""
        for again in range(_AGAIN + 1):
            with self._asking.look() as db:
                now = groups(db)
                if self._redo is None or now != self._groups or again:
                    self._redo, self._groups = redo(db, self._windows.place.scn), now
                try:
                    self._redo.covering(first, last, db.where)
                except GoneFileError:
                    if self._follow.stop.is_set():
                        return self._redo
                    if again == _AGAIN:
                        raise lost(self._redo, first, db.where) from None
                else:
                    return self._redo
            self._follow.stop.wait(_PATIENCE)
        raise AssertionError("it was found or not")

    def _unturned(self, used: dict[int, int]) -> None:
        """Raise ConnectError if an online log was begun anew while it was read: the window may lack its redo."""
        with self._asking.look() as db:
            now = groups(db)
            if any(now.get(group) != sequence for group, sequence in used.items()):
                raise ConnectError(
                    "an online log was overwritten while it was read", path=db.where, hint="run it again"
                )

    # ---- what is told

    def _told(self, commits: Sequence[Commit]) -> Iterator[Batch]:
        windows = self._windows
        for one in commits:
            moment = (one.when - self._minutes * 60) * 1_000_000
            for table, why in windows.held.troubles(one.xid).items():
                if table not in windows.gone:
                    yield from self._cut(windows.place)
                    name = self._ground.followed[table].dataset.name
                    self._lose(
                        table, SchemaError(f"{name!r}: {why}, SCN {one.scn}", path=name, hint=REPAIR.format(name))
                    )
            for row in windows.held.rows(one.xid):
                if row.table in windows.gone:
                    continue
                if row.code == DDL:
                    yield from self._defined(row.table, row.sql)
                    continue
                if self._run.changes and (
                    self._run.table != row.table or len(self._run.changes) >= self._follow.batch_rows
                ):
                    yield from self._flush()
                self._run.table = row.table
                self._run.changes.append((row.sql, moment))
            place = windows.done(one)
            if self._until is not None and place.reached(self._until):
                yield from self._cut(place)
                return
            if self._rows + len(self._run.changes) >= self._follow.batch_rows:
                yield from self._cut(place)
        yield from self._cut(windows.at(windows.complete - 1))

    def _cut(self, place: Place) -> Iterator[Batch]:
        """Everything that is to be told before a place."""
        yield from self._flush()
        held, self._held, self._rows = self._held, None, 0
        if held is not None:
            yield replace(held, position=place.position())

    def _flush(self) -> Iterator[Batch]:
        """The changes that wait, as a batch; the last one is kept, for it may get a position."""
        if not self._run.changes:
            return
        table, changes = self._run.table, self._run.changes
        self._run = _Run(table, [])
        one = self._ground.followed[table]
        if table not in self._decoders:
            self._decoders[table] = self._decoder(one)
        try:
            made = self._decoders[table].batch(changes)
        except SchemaError as error:
            yield from self._push(None)
            self._lose(table, error)
            return
        self._rows += made.num_rows
        yield from self._push(Batch(one.dataset.name, made, None))

    def _push(self, batch: Batch | None) -> Iterator[Batch]:
        held, self._held = self._held, batch
        if held is not None:
            yield held

    def _defined(self, table: int, sql: str) -> Iterator[Batch]:
        """A DDL statement."""
        one, does = self._ground.followed[table], meaning(sql)
        if does == "ends":
            yield from self._cut(self._windows.place)
            words = " ".join(sql.split()[:4])
            text = f"{one.dataset.name!r} was altered in a way that its log does not tell: {words} …"
            self._lose(table, SchemaError(text, path=one.dataset.name, hint=RESYNC))
            return
        if does == "nothing":
            return
        yield from self._flush()
        empty = pa.RecordBatch.from_pylist([], schema=one.schema())
        if does == "empties":
            yield from self._push(Batch(one.dataset.name, empty, None, kind="truncate"))
            return
        self._decoders.pop(table, None)
        try:
            altered = self._altered(one)
        except (SchemaError, InvalidPlanError) as error:
            yield from self._push(None)
            self._lose(table, error)
            return
        if altered:
            told = pa.RecordBatch.from_pylist([], schema=one.schema())
            yield from self._push(Batch(one.dataset.name, told, None, kind="schema"))

    # ---- what the tables are

    def _opened(self, place: Place) -> tuple[Windows, int]:
        """What is needed to read behind a place, and the minutes that the server's clock is ahead of UTC. Raises
        LostPositionError if it is a place of another database."""
        with self._ground.asking.look() as db:
            scn, name = server.now(db)
            if name != place.database:
                raise LostPositionError("the place is of another database or incarnation", path=db.where, hint=RESYNC)
            if place.upto > scn:
                text = f"the database is at SCN {scn}, before {place.upto}, where we are: it was restored"
                raise LostPositionError(text, path=db.where, hint=RESYNC)
            windows = Windows(self._ground.followed, place, Held(self._ground.folder, MOST))
            return windows, server.minutes(db)

    def _others(self) -> dict[int, TongquError]:
        """The tables that are others than they were, or gone; and of the rest the object numbers are noted."""
        with self._ground.asking.look() as db:
            numbers, self._windows.objects = server.objects(db, self._ground.followed)
        found: dict[int, TongquError] = {}
        for at, one in enumerate(self._ground.followed):
            name = one.dataset.name
            if at in self._windows.gone:
                continue
            if name not in numbers:
                found[at] = NotFoundError(f"{name!r} is gone: dropped or renamed", path=name, hint=RESYNC)
            elif self._windows.place.tables.get(name, numbers[name]) != numbers[name]:
                found[at] = LostPositionError(f"{name!r} was made anew, or is another table", path=name, hint=RESYNC)
        gone = {self._ground.followed[at].dataset.name for at in self._windows.gone}
        known = {**numbers, **self._windows.place.tables}
        tables = {name: at for name, at in known.items() if name in numbers and name not in gone}
        self._windows.place = replace(self._windows.place, tables=tables)
        return found

    def _altered(self, one: Followed) -> bool:
        """Take the columns of a table as they are now; whether they are others."""
        with self._ground.asking.look() as db:
            now = self._ground.reach.catalogue(db).find(one.table.name)
            if now is None:
                raise SchemaError(f"{one.dataset.name!r} is gone", path=db.where, hint=RESYNC)
            altered = one.seen(db, now)
            server.tellable(one)
            return altered

    def _decoder(self, one: Followed) -> Decoder:
        """What makes rows of the changes of a table."""
        with self._ground.asking.look() as db:
            return Decoder(one, db.dialect.place(*one.place))
