"""Learns from the home's feed which tables changed, before every answer that could be an old one."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable

from tongqu.core.errors import CheckpointError
from tongqu.kit.trouble import why
from tongqu.store.feed import Feed

ANY = "*"
"""Stands for every table of a connection."""
_AT_ONCE = 1000
_SETTLE_SECONDS = 1.0
logger = logging.getLogger("tongqu.gateway")


def tag(place: str) -> str:
    """What a place (`connection/table`) is known by: the last part of the table's name, in whatever letters, so that
    `orders`, `public.orders` and `PUBLIC.ORDERS` are the same. Two tables of one name end more answers than they must.
    """
    connection, _, table = place.partition("/")
    return f"{connection}/{table.rpartition('.')[2].casefold()}"


def reached(place: str) -> tuple[str, str]:
    """The tags that a change of the place ends: its own, and that of whoever may read any table of the connection."""
    own = tag(place)
    return own, f"{own.partition('/')[0]}/{ANY}"


class Touches:
    """Follows one feed. `clock` is monotonic seconds. Belongs to one thread; the feed is its own connection.

    A write of the gateway stands in the feed as begun before it is made, and as an event after its commit, so whoever
    looks after the commit sees one of the two: `doubtful` or `moved`.
    """

    def __init__(self, feed: Feed, clock: Callable[[], float]) -> None:
        self._feed = feed
        self._clock = clock
        self._seen = -1
        self._position = -1
        self._settle_at = 0.0
        self._begun: frozenset[str] = frozenset()
        self._moves: dict[str, int] = {}
        self.now = 0
        """Counts changes: what is learnt later has a larger number."""
        self._cleared = 0
        self.listeners: list[Callable[[str], None]] = []
        """Told the tag of what changed, `*` alone for everything."""

    def look(self) -> bool:
        """Learn what changed until now; False where that cannot be learnt, so that nothing kept may be given."""
        settled = 0
        try:
            if self._clock() >= self._settle_at:
                self._settle_at = self._clock() + _SETTLE_SECONDS
                settled = self._feed.settle()
            version = self._feed.version()
            if version != self._seen or settled:
                self._learn()
                self._seen = version
        except (sqlite3.Error, OSError, CheckpointError) as error:
            if self._seen != -1:
                logger.warning("what changed cannot be learnt, so nothing is answered from the cache: %s", why(error))
            self._seen = -1
            self.forget()
            return False
        return True

    def doubtful(self, tags: Iterable[str]) -> bool:
        """Whether a write of one of the tables is being made, so that nobody knows which rows are true."""
        return bool(self._begun) and not self._begun.isdisjoint(tags)

    def moved(self, tags: Iterable[str], since: int) -> bool:
        """Whether one of the tables changed after `now` was `since`."""
        if self.now == since:
            return False
        return self._cleared > since or any(self._moves.get(one, 0) > since for one in tags)

    def forget(self) -> None:
        """Count everything as changed."""
        self.now += 1
        self._cleared = self.now
        self._moves.clear()
        self._tell(ANY)

    def close(self) -> None:
        """Close the feed."""
        self._feed.close()

    def _learn(self) -> None:
        if self._position < 0:
            self._position = self._feed.last()
        begun = self._feed.doubtful()  # first: what ends meanwhile is among the events
        while events := self._feed.after(self._position, _AT_ONCE):
            if events[0].position != self._position + 1:
                self.forget()  # older ones were dropped from the feed unseen
            self._position = events[-1].position
            self._touch({event.place for event in events})
        if self._feed.last() != self._position:
            self._position = self._feed.last()
            self.forget()
        self._begun = frozenset(one for place in begun for one in reached(place))

    def _touch(self, places: set[str]) -> None:
        for one in {one for place in places for one in reached(place)}:
            self.now += 1
            self._moves[one] = self.now
            self._tell(one)

    def _tell(self, tag: str) -> None:
        for listener in self.listeners:
            listener(tag)
