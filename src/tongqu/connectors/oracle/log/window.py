"""Sorts what a window of redo tells into transactions, and knows up to which SCN all of it has been seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tongqu.connectors.oracle.log.holding import BAD, NO_SEQUENCE, Held, Row
from tongqu.connectors.oracle.log.mining import COMMIT, MISSING, ROLLBACK, Told
from tongqu.connectors.oracle.log.places import Place, Record
from tongqu.connectors.oracle.log.session import RESYNC, Followed
from tongqu.connectors.oracle.log.statements import DDL, DELETE, INSERT, UPDATE
from tongqu.core.errors import LostPositionError, SchemaError

_CHANGES = (INSERT, DELETE, UPDATE)
_PASSED = (0, 25)
"""INTERNAL, SELECT_FOR_UPDATE: no value changed."""


@dataclass(frozen=True, order=True)
class Commit:
    """A transaction that is committed: its SCN, its thread, where its record stands, and the server's local time."""

    scn: int
    thread: int
    record: Record
    xid: str
    when: int


class Windows:
    """What was seen of the redo behind a place. Windows overlap: each begins where the one before was complete, so what
    was seen already is passed over, record by record."""

    def __init__(self, followed: Sequence[Followed], place: Place, held: Held):
        self.place, self.held = place, held
        self.objects: dict[int, int] = {}
        """Object numbers of the followed tables and their partitions → the table's number."""
        self.gone: set[int] = set()
        """Tables that are lost: nothing of them is told."""
        self._tables = {one.place: at for at, one in enumerate(followed)}
        self._seen: dict[tuple[int, Record], int] = {}
        self._last: dict[int, int] = {}
        self._waiting: list[Commit] = []
        self.complete = place.scn
        """Nothing new comes below this SCN; the next window begins here."""

    def take(self, answers: Iterable[Sequence[Told]], where: str) -> None:
        """The rows of a window."""
        fresh: dict[tuple[int, Record], int] = {}
        for batch in answers:
            for one in batch:
                if one.code == MISSING:
                    raise LostPositionError(f"redo is missing at SCN {one.scn}", path=where, hint=RESYNC)
                self._last[one.thread] = max(one.scn, self._last.get(one.thread, 0))
                if (one.thread, one.record) in self._seen:
                    continue
                fresh[one.thread, one.record] = one.scn
                self._sort(one)
        self._seen.update(fresh)

    def _sort(self, one: Told) -> None:
        xid = self.held.known(one.xid)
        if one.code not in (COMMIT, ROLLBACK):
            self._changed(one, xid)
        elif one.code == COMMIT and xid in self.held and not self.place.told(one.thread, one.scn, one.record):
            self._waiting.append(Commit(one.scn, one.thread, one.record, xid, one.when))
        else:
            self.held.drop(xid)

    def _changed(self, one: Told, xid: str) -> None:
        table = self._tables.get((one.owner, one.table), self.objects.get(one.object))
        if table is None or table in self.gone or one.code in _PASSED:
            return
        if xid not in self.held and xid.endswith(NO_SEQUENCE):
            if one.rollback:
                return  # of a transaction that began before all that is told
            text = f"LogMiner does not tell of which transaction a change at SCN {one.scn} is"
            raise SchemaError(text, path=f"{one.owner}.{one.table}", hint=RESYNC)
        known = (one.owner, one.table) in self._tables and one.status == 0
        code, sql = one.code, one.sql
        if one.code == DDL:
            if "INTERNAL DDL" in one.info.upper():
                return
        elif not (known and one.code in _CHANGES):
            told = one.info or ("its name is not in the dictionary" if one.code in _CHANGES else "an operation on LOBs")
            code, sql = BAD, f"LogMiner cannot tell a change (operation {one.code}, status {one.status}: {told})"
        if one.rollback:
            self.held.undo(xid, one.scn, Row(table, one.code, one.row, ""))
        else:
            self.held.add(xid, one.scn, Row(table, code, one.row, sql))

    def settle(self, last: int, settled: int, threads: Mapping[int, bool], finished: Mapping[int, int]) -> list[Commit]:
        """A window up to `last` is over: the commits that can be told, in their order. A thread is complete up to the
        last row that it showed, since its redo is one sequence; where it showed none, up to `settled`, what was written
        so long ago that it is on disk, or to where its current file begins (`finished`)."""
        ends = [
            min(last, max(self._last.get(thread, 0), settled, finished.get(thread, 0)))
            for thread, writes in threads.items()
            if writes
        ]
        self.complete = max(self.complete, min([last, *ends]))
        self._seen = {key: scn for key, scn in self._seen.items() if scn >= self.complete}
        self._waiting.sort()
        ready = [one for one in self._waiting if one.scn <= self.complete]
        self._waiting = self._waiting[len(ready) :]
        return ready

    def done(self, one: Commit) -> Place:
        """A commit has been told: the place behind it."""
        self.held.drop(one.xid)
        self.place = self.place.behind(one.thread, one.record, one.scn)
        return self.at(one.scn - 1)

    def at(self, upto: int) -> Place:
        """The place, with everything up to an SCN told."""
        oldest = self.held.oldest()
        scn = self.complete if oldest is None else min(oldest, self.complete)
        self.place = replace(self.place, scn=scn, upto=max(self.place.upto, upto))
        return self.place
