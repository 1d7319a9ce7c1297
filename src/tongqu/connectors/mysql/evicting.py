"""Ends sessions of a process that was suspended while it held locks: its successor would wait for it for ever.

A session that writes for a sync holds two of the server's user locks (GET_LOCK), named after its connection: one for
the sync, one for its run and attempt. They go with the session, need no privilege and are seen by all others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

from tongqu.connectors.mysql.db import MysqlDb
from tongqu.connectors.mysql.settings import MysqlSettings
from tongqu.core.errors import BusyError, ConnectError, TongquError, WriteError
from tongqu.kit.ledger import Ledger

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger("tongqu.mysql")

_ASLEEP = """
SELECT p.id FROM information_schema.processlist p
JOIN information_schema.processlist own ON own.id = CONNECTION_ID() AND own.user = p.user AND own.db = p.db
WHERE p.id <> own.id AND p.time >= ? AND (p.command = 'Sleep' OR p.info LIKE 'LOAD DATA LOCAL%')
AND IS_USED_LOCK(CONCAT(?, p.id)) = p.id AND IS_USED_LOCK(CONCAT(?, p.id)) IS NULL
"""


@dataclass(frozen=True)
class Mark:
    """What a session writes for."""

    sync: str
    run: str
    attempt: int

    @property
    def locks(self) -> tuple[str, str]:
        """How the names of the two locks begin, that of the sync and that of the attempt; names may have 64 letters."""
        return _name(self.sync), _name(self.sync, self.run, str(self.attempt))


class SinkDb(MysqlDb):
    """A sink's session. Where it could not get a lock, those of its predecessors who sleep are ended, and the error is
    one that is worth another attempt."""

    def __init__(self, settings: MysqlSettings, mark: Callable[[], Mark | None]):
        self._mark = mark
        self._held: Mark | None = None
        super().__init__(settings)

    def begin(self) -> None:
        """See Db.begin."""
        mark = self._mark()
        if mark != self._held and not self._open:
            self._hold(mark)
        super().begin()

    def _hold(self, mark: Mark | None) -> None:
        """Take the locks of the mark in place of those that are held; systems without such locks evict nobody.

        The attempt's comes last: an old server that keeps only the last lock must not make us look like a predecessor.
        """
        for verb, more, whose in (("RELEASE_LOCK", "", self._held), ("GET_LOCK", ", 0", mark)):
            if whose is not None:
                calls = [f"{verb}(CONCAT('{name}', CONNECTION_ID()){more})" for name in whose.locks]
                self._try(f"DO {', '.join(calls)}")
        self._held = mark

    def insert_texts(self, table: str, texts: pa.Table) -> None:
        """See Db.insert_texts."""
        with self._evicting():
            super().insert_texts(table, texts)

    def _execute(self, sql: str, params: Sequence[Any]) -> Any:
        with self._evicting():
            return super()._execute(sql, params)

    @contextmanager
    def _evicting(self) -> Iterator[None]:
        try:
            yield
        except BusyError as busy:
            mark, ended = self._mark(), 0
            try:
                ended = evict(self.settings, mark) if mark is not None else 0
            except TongquError as error:
                logger.warning("whether a suspended process holds the lock could not be seen: %s", error.message)
            if not ended:
                raise
            raise ConnectError(
                f"the lock was held by a process that was suspended, whose {ended} sessions were ended",
                path=self.settings.display(),
            ) from busy


def evict(settings: MysqlSettings, mark: Mark) -> int:
    """End our account's sessions that write for the sync in another run or attempt than the mark's, and whose client
    has said nothing for half of `lock_seconds`; how many.

    None of what they hold is committed, and none of it may be: the sync's row in the ledger names our attempt. A
    process that is awake after all goes on from its checkpoint, if it is still its turn. Nobody is ended once a later
    attempt has begun, nor behind a proxy, where the number of a connection may be that of another's.
    """
    sync, attempt = mark.locks
    with closing(MysqlDb(settings)) as db:
        head = Ledger(db).head(mark.sync)
        direct = db.rows("SELECT 0 + CONNECTION_ID()") == [(db.connection.thread_id(),)]
        if head is None or (head.run, head.attempt) != (mark.run, mark.attempt) or not direct:
            return 0
        asleep = db.rows(_ASLEEP, (settings.lock_seconds / 2, sync, attempt))
        ended = sum(_killed(db, int(number)) for (number,) in asleep)
    if ended:
        logger.warning("%d sessions of a process that was suspended held locks, and were ended", ended)
    return ended


def _killed(db: MysqlDb, number: int) -> bool:
    """Whether the session was there to be ended."""
    try:
        db.run(f"KILL CONNECTION {number}")
    except WriteError:
        return False
    return True


def _name(*parts: str) -> str:
    return f"tongqu {blake2s(chr(0).join(parts).encode(), digest_size=8).hexdigest()} "
