"""Which files have the redo of a range of SCNs: archived logs, and online ones that are not archived yet.

Source: V$ARCHIVED_LOG, V$LOG, V$LOGFILE and V$THREAD in Oracle's Database Reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tongqu.connectors.oracle.log.session import RESYNC, GoneFileError, number
from tongqu.core.errors import LostPositionError
from tongqu.kit.tables.db import TableDb

_ARCHIVED = """
SELECT a.THREAD#, a.SEQUENCE#, a.FIRST_CHANGE#, a.NEXT_CHANGE#,
       MIN(CASE WHEN a.STATUS = 'A' AND a.DELETED = 'NO' AND a.STANDBY_DEST = 'NO' THEN a.NAME END)
FROM V$ARCHIVED_LOG a JOIN V$DATABASE d ON a.RESETLOGS_CHANGE# = d.RESETLOGS_CHANGE#
WHERE a.NEXT_CHANGE# > {first}
GROUP BY a.THREAD#, a.SEQUENCE#, a.FIRST_CHANGE#, a.NEXT_CHANGE#
"""
_ONLINE = """
SELECT l.THREAD#, l.SEQUENCE#, l.FIRST_CHANGE#, CASE WHEN l.STATUS = 'CURRENT' THEN NULL ELSE l.NEXT_CHANGE# END,
       MIN(f.MEMBER), MAX(l.GROUP#)
FROM V$LOG l JOIN V$LOGFILE f ON f.GROUP# = l.GROUP#
WHERE l.STATUS <> 'UNUSED' AND f.TYPE = 'ONLINE' AND (f.STATUS IS NULL OR f.STATUS NOT IN ('INVALID', 'DELETED'))
GROUP BY l.THREAD#, l.SEQUENCE#, l.FIRST_CHANGE#, CASE WHEN l.STATUS = 'CURRENT' THEN NULL ELSE l.NEXT_CHANGE# END
"""
_THREADS = "SELECT t.THREAD#, t.STATUS FROM V$THREAD t WHERE t.ENABLED <> 'DISABLED' ORDER BY t.THREAD#"
_NO_END = 1 << 63


@dataclass(frozen=True)
class RedoFile:
    """The redo of a thread from the SCN `first` up to, and without, `next` (of the current one: beyond all). `name` is
    empty if the file is no longer there, `online` its group or 0."""

    thread: int
    sequence: int
    first: int
    next: int
    name: str
    online: int = 0


@dataclass(frozen=True)
class Redo:
    """The files that there are, and the threads that write (`open`) and those that do not now."""

    files: Sequence[RedoFile]
    threads: dict[int, bool]

    def covering(self, first: int, last: int, where: str) -> list[RedoFile]:
        """The files of all threads with the redo from one SCN to another. Raises LostPositionError if one was deleted,
        GoneFileError if it may still come (it is being archived)."""
        found: list[RedoFile] = []
        for thread, writes in self.threads.items():
            own = sorted((one for one in self.files if one.thread == thread), key=lambda one: one.sequence)
            wanted = [one for one in own if one.next > first and one.first <= last]
            for one in wanted:
                if not one.name:
                    raise _lost(f"the archived log {one.sequence} of thread {thread} was deleted", first, where)
            begins = not wanted or wanted[0].first <= first or wanted[0].sequence == 1
            follows = all(two.sequence == one.sequence + 1 for one, two in pairwise(wanted))
            reaches = (not writes) or (bool(wanted) and wanted[-1].next > last)
            if not (begins and follows and reaches):
                raise GoneFileError(
                    f"the redo of thread {thread} from SCN {first} to {last} is neither archived nor online",
                    path=where, hint="wait until the log is archived",
                )  # fmt: skip
            found += wanted
        return found

    def complete(self, thread: int) -> int:
        """The SCN before which the redo of a thread is in files that are finished."""
        return max((one.first for one in self.files if one.thread == thread and one.next == _NO_END), default=0)

    def oldest(self) -> int | None:
        """From which SCN on the redo of all threads is there, without a gap."""
        begins = []
        for thread in self.threads:
            own = sorted((one for one in self.files if one.thread == thread), key=lambda one: -one.sequence)
            kept: list[RedoFile] = []
            for one in own:
                if not one.name or (kept and one.sequence != kept[-1].sequence - 1):
                    break
                kept.append(one)
            begins += [kept[-1].first] if kept else []
        return max(begins, default=None)


def _lost(text: str, first: int, where: str) -> LostPositionError:
    return LostPositionError(f"{text}; the redo from SCN {first} on is needed", path=where, hint=RESYNC)


def lost(redo: Redo, first: int, where: str) -> LostPositionError:
    """The error for redo that is gone for good."""
    begins = redo.oldest()
    there = "nothing" if begins is None else f"from SCN {begins} on"
    return _lost(f"the redo that is there begins later: {there}", first, where)


def groups(db: TableDb) -> dict[int, int]:
    """The sequence of each online group: it changes when logs are switched."""
    return {number(group): number(at) for group, at in db.rows("SELECT l.GROUP#, l.SEQUENCE# FROM V$LOG l")}


def redo(db: TableDb, first: int) -> Redo:
    """The files with redo behind an SCN. An archived log is taken where there is one: it does not change any more."""
    files: dict[tuple[int, int], RedoFile] = {}
    for thread, sequence, begins, ends, name, group in db.rows(_ONLINE):
        one = RedoFile(
            number(thread), number(sequence), number(begins), _NO_END if ends is None else number(ends), str(name),
            number(group),
        )  # fmt: skip
        files[one.thread, one.sequence] = one
    for thread, sequence, begins, ends, name in db.rows(_ARCHIVED.format(first=int(first))):
        one = RedoFile(number(thread), number(sequence), number(begins), number(ends), str(name or ""))
        if name or (one.thread, one.sequence) not in files:
            files[one.thread, one.sequence] = one
    threads = {number(thread): str(status) == "OPEN" for thread, status in db.rows(_THREADS)}
    return Redo(list(files.values()), threads)
