"""What logs of brokers that hand messages out have in common: the connection stays after its reader has ended, so that
what becomes durable then is acknowledged still; what is not acknowledged is handed out again."""

from __future__ import annotations

import math
import secrets
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Any, Generic, TypeVar

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Position
from tongqu.core.errors import ConnectError
from tongqu.core.log import Follow, Log
from tongqu.kit.messages.logs import beginning, heartbeat, only_changes
from tongqu.kit.messages.table import MessageTable

POLL = 0.1
"""Seconds to wait for a message."""
_IDLE = 1.0

Q = TypeVar("Q", bound=MessageTable)


class Given:
    """How many messages of a queue this reader was given, and those of them that are not acknowledged."""

    def __init__(self) -> None:
        self.count = 0
        self.open: deque[tuple[int, Any, bool]] = deque()

    def give(self, tag: Any, *, taken: bool) -> None:
        """One more: what it is acknowledged by, and whether it is, or is refused."""
        self.count += 1
        self.open.append((self.count, tag, taken))

    def settled(self, count: int) -> list[tuple[Any, bool]]:
        """Those up to a count, which are not open any more."""
        found = []
        while self.open and self.open[0][0] <= count:
            _, tag, taken = self.open.popleft()
            found.append((tag, taken))
        return found


class GivingLog(Log, Generic[Q]):
    """A log whose messages are acknowledged over the connection that they came by. Of a queue that gives each message
    once a position tells how many this reader was given, and which reader it was (`{of: "f3…", at: 5}`), and that
    the queue was at its end (`dry`)."""

    def __init__(self, name: str, queues: Sequence[Q], given: Iterable[str], quiet: float = math.inf) -> None:
        """`given`: the datasets of queues that give each message once; `quiet`: seconds of silence after which a
        bounded read looks whether its end is there, which it does once a second anyway."""
        self._queues = {queue.dataset: queue for queue in queues}
        self.changes = only_changes(name, "queue", queues)
        self._session = secrets.token_hex(8)
        """Which reader it is, in positions: counts of another one mean nothing to it."""
        self._given = {dataset: Given() for dataset in given}
        self._quiet = quiet
        self._durable: Position = {}
        self._reading = False
        self._lock = Lock()
        """Held while the connection is used."""

    @abstractmethod
    def _enter(self, after: Position) -> None:
        """Connect, and have messages come."""

    @abstractmethod
    def _take(self, most: int) -> bool:
        """Wait for a message, and take the others that are there; whether there are any. Raises ConnectError."""

    @abstractmethod
    def _batches(self) -> Iterator[Batch]:
        """What was taken, given on."""

    @abstractmethod
    def _place(self, *, dry: bool) -> Position:
        """Where reading is."""

    @abstractmethod
    def _dry(self, silent: float, *, bounded: bool) -> bool:
        """Whether queues are at their end, from which nothing came for so many seconds."""

    def _full(self) -> bool:
        """Whether nothing can come before something is acknowledged."""
        return False

    @abstractmethod
    def _settle(self, dataset: str, settled: Sequence[tuple[Any, bool]]) -> None:
        """Acknowledge, or refuse, what has become durable, if there is still the connection. Raises ConnectError: the
        broker will hand it out again."""

    @abstractmethod
    def _leave(self) -> None:
        """Release the connection, if there is one."""

    def snapshot(self) -> Source | None:
        """See Log.snapshot: nothing has to be read beside queues of changes."""
        return beginning([*self._queues.values()])

    # ---- reading

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        with self._lock:
            self._left()
            self._enter(follow.after)
            self._reading = True
        try:
            yield from self._follow(follow)
        except ConnectError:
            with self._lock:
                self._left()
            raise
        finally:
            self._reading = False

    def _follow(self, follow: Follow) -> Iterator[Batch]:
        first, bounded = next(iter(self._queues.values())).described(), follow.until is not None
        said = heard = monotonic()
        dry = False
        while not follow.stop.is_set():
            position = self._place(dry=dry)
            if follow.until is not None and self.reached(position, follow.until):
                yield heartbeat(first, position)
                return
            with self._lock:
                self._tell()
                came = self._take(follow.batch_rows)
            if came:
                yield from self._batches()
                said = heard = monotonic()
                dry = False
                continue
            now = monotonic()
            if self._full():
                heard = now
            if now - said > _IDLE or (bounded and not dry and now - heard > self._quiet):
                said = now
                dry = self._dry(now - heard, bounded=bounded)
                yield heartbeat(first, self._place(dry=dry))

    def _mark(self, count: int, *, dry: bool = False) -> dict[str, Any]:
        """A queue's part of a position."""
        return {"of": self._session, "at": count} | ({"dry": True} if dry else {})

    # ---- acknowledging

    def _tell(self) -> None:
        told = self._durable.get("queues") or {}
        for dataset, given in self._given.items():
            durable = told.get(dataset) or {}
            settled = given.settled(durable["at"]) if durable.get("of") == self._session else []
            if settled:
                self._settle(dataset, settled)

    def _left(self) -> None:
        self._leave()
        for given in self._given.values():
            given.open.clear()

    def acknowledge(self, position: Position) -> None:
        """See Log.acknowledge. While a reader is at work it sends the acknowledgements, within a moment."""
        self._durable = position
        if not self._reading:
            with self._lock:
                self._tell()

    def close(self) -> None:
        """See Log.close: what is durable is acknowledged first."""
        with self._lock:
            with suppress(ConnectError):  # what is not acknowledged is handed out again
                self._tell()
            self._left()
