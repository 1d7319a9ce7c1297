"""Holds a DuckDB file open while queries come, and lets go of it when it rests or when somebody wants to write it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Thread
from time import monotonic

from tongqu.connectors.duckdb.db import DuckDb, open_sink, open_source
from tongqu.connectors.duckdb.settings import DuckdbSettings
from tongqu.connectors.duckdb.turns import Turns
from tongqu.core.errors import BusyError
from tongqu.kit.local_path import absolute

IDLE_SECONDS = 1.0
"""The file is closed when nobody has asked for so long: programs that know nothing of turns get it then."""
WROTE_SECONDS = 0.25
"""So long after the last change the file is opened for reading only, so that other processes may read it too."""
PATIENCE_SECONDS = 2.0
"""A query waits so long for a file that somebody writes."""
_LOOK = 0.02


class Holder:
    """One file, used by many threads. Read-only until the first change; then open for writing until it rests."""

    def __init__(self, settings: DuckdbSettings, *, idle: float = IDLE_SECONDS, patience: float = PATIENCE_SECONDS):
        self._settings = settings
        self._turns = Turns(absolute(settings.path))
        self._idle, self._patience = idle, patience
        self._changed = Condition()
        self._keeper: DuckDb | None = None
        """Keeps the database open between queries."""
        self._writes = False
        self._users = 0
        self._upgrading = False
        self._used = self._wrote = 0.0
        self._watcher: Thread | None = None
        self._closed = False

    @contextmanager
    def reading(self, seconds: float | None = None) -> Iterator[DuckDb]:
        """A connection of one's own. BusyError if the file is not free within so many seconds (at most the patience);
        NotFoundError if it is not there."""
        self._enter(min(seconds if seconds is not None else self._patience, self._patience), writes=False)
        try:
            db = open_source(self._settings)
            try:
                yield db
            finally:
                db.close()
        finally:
            self._leave()

    @contextmanager
    def writing(self, seconds: float | None = None) -> Iterator[DuckDb]:
        """The same, to change rows; whoever calls takes care to be the only one."""
        self._enter(min(seconds if seconds is not None else self._patience, self._patience), writes=True)
        try:
            db = open_sink(self._settings)
            try:
                yield db
            finally:
                db.rollback()
                db.close()
                self._wrote = monotonic()
        finally:
            self._leave()

    def close(self) -> None:
        """Let go of the file, when the queries that run have ended."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._users == 0)
            self._let_go()
            watcher, self._watcher = self._watcher, None
            self._changed.notify_all()
        if watcher is not None:
            watcher.join()

    def _enter(self, seconds: float, *, writes: bool) -> None:
        until = monotonic() + seconds
        with self._changed:
            self._upgrading = self._upgrading or writes
            try:
                while not self._ready(writes=writes, last=monotonic() >= until):
                    self._changed.wait(_LOOK)
                self._users += 1
            finally:
                if writes:
                    self._upgrading = False

    def _ready(self, *, writes: bool, last: bool) -> bool:
        """Whether the file is open as it is needed; opens it if it may. `last`: raise what stands in the way."""
        alone = self._writes and not writes and monotonic() - self._wrote >= WROTE_SECONDS
        enough = self._keeper is not None and (self._writes or not writes) and not alone
        if enough and not self._turns.wanted() and (writes or not self._upgrading or self._writes):
            return True
        if self._users == 0:
            self._let_go()
        blocked = self._users > 0 or self._turns.wanted() or (self._upgrading and not writes)
        if blocked and last:
            raise BusyError(
                f"{self._settings.display()} is wanted by somebody who writes it",
                hint="try again when it is written",
                params={"path": self._settings.path},
            )
        if blocked:
            return False
        try:
            self._keeper = open_sink(self._settings) if writes else open_source(self._settings)
        except BusyError:
            if last:
                raise
            return False
        self._writes = writes
        self._used = self._wrote = monotonic()
        self._turns.keep()
        if self._watcher is None and not self._closed:
            self._watcher = Thread(target=self._watch, name="tongqu-duckdb-holder", daemon=True)
            self._watcher.start()
        return True

    def _leave(self) -> None:
        with self._changed:
            self._users -= 1
            self._used = monotonic()
            if self._users == 0 and self._turns.wanted():
                self._let_go()
            self._changed.notify_all()

    def _let_go(self) -> None:
        keeper, self._keeper, self._writes = self._keeper, None, False
        if keeper is not None:
            keeper.close()

    def _watch(self) -> None:
        """Close the file when it rests or is wanted while nobody asks."""
        with self._changed:
            while not self._closed:
                if self._keeper is None:
                    self._changed.wait()
                    continue
                self._changed.wait(_LOOK)
                resting = monotonic() - self._used >= self._idle
                if self._users == 0 and self._keeper is not None and (resting or self._turns.wanted()):
                    self._let_go()
