"""What a stream holds now, and its entries behind a place; tells whether what is behind it is still all there.

Source: Redis commands XINFO STREAM, XRANGE, XREAD. `entries-added` counts all that were ever appended and `length`
those that are there, so their difference counts those that are gone. Trimming takes the oldest. If the oldest that is
there is not behind our place, nothing behind it was trimmed; if it is, all up to our place are gone, and what is gone
besides was not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongqu.connectors.redis.link import Link
from tongqu.core.errors import InvalidPlanError, LostPositionError, ReadError

START = "0-0"
Entry = tuple[bytes, Mapping[bytes, bytes]]
"""An entry: its id and its fields."""


@dataclass(frozen=True)
class Place:
    """Behind an entry: its id, and how many entries were ever appended up to it."""

    at: str = START
    added: int = 0

    @property
    def order(self) -> tuple[int, int]:
        """What places are compared by."""
        return numbers(self.at)

    def position(self) -> dict[str, Any]:
        """As it stands in positions."""
        return {"at": self.at, "added": self.added}


@dataclass(frozen=True)
class State:
    """What a stream is like now: its oldest and its last id, and how many entries it has and ever had."""

    name: str
    first: str
    last: str
    length: int
    added: int

    @property
    def begin(self) -> Place:
        """Before all entries that are there."""
        return Place(START, self.added - self.length)

    @property
    def end(self) -> Place:
        """Behind all entries."""
        return Place(self.last, self.added)

    def holds(self, place: Place, where: str) -> None:
        """Raise LostPositionError if what is behind a place is not all there."""
        if numbers(self.last) < place.order:
            raise self._lost(place, f"it ends at {self.last}: it was made anew, or the server lost what it had", where)
        gone = self.added - self.length
        if (not self.length or numbers(self.first) > place.order) and gone != place.added:
            why = (
                f"{gone - place.added} entries behind it were trimmed or deleted"
                if gone > place.added
                else "it was made anew"
            )
            raise self._lost(place, why, where)

    def _lost(self, place: Place, why: str, where: str) -> LostPositionError:
        return LostPositionError(
            f"the stream {self.name} does not have all that followed {place.at} any more: {why}", path=where,
            hint="trim streams (MAXLEN, MINID) to more than the longest outage and switch appendonly on; then sync "
            "again with --restart, which reads what the stream still has",
        )  # fmt: skip


def numbers(id: str) -> tuple[int, int]:
    """The two numbers of an id."""
    time, _, count = id.partition("-")
    return int(time), int(count or 0)


def exists(link: Link, name: str) -> bool:
    """Whether there is such a stream; raises ReadError for a key of another kind."""
    with link.told():
        kind = link.client.type(name)
    found = kind.decode() if isinstance(kind, bytes) else str(kind)
    if found not in ("none", "stream"):
        raise ReadError(f"{name!r} is no stream but a {found}", path=link.where, hint="check stream and prefix")
    return found == "stream"


def state(link: Link, name: str) -> State:
    """What a stream is like now; raises NotFoundError."""
    return fetch(link, name, START, 0)[0]


def fetch(link: Link, name: str, at: str, count: int) -> tuple[State, list[Entry]]:
    """What a stream is like, and at the same instant up to so many entries behind an id. Raises NotFoundError, and
    InvalidPlanError for a server that is too old to tell what was trimmed."""
    asked: list[Sequence[Any]] = [("XINFO", "STREAM", name)]
    if count:
        asked.append(("XRANGE", name, f"({at}", "+", "COUNT", count))
    found = link.together(*asked)
    told = {_text(key): value for key, value in _pairs(found[0])}
    if "entries-added" not in told:
        hint = "use Redis 7 or newer"
        raise InvalidPlanError("this Redis does not tell which entries were trimmed", path=link.where, hint=hint)
    now = State(
        name, _text(told["recorded-first-entry-id"]), _text(told["last-generated-id"]), int(told["length"]),
        int(told["entries-added"]),
    )  # fmt: skip
    return now, list(found[1]) if count else []


def newest(link: Link, name: str, count: int) -> list[Entry]:
    """Up to so many of the newest entries, the oldest first."""
    with link.told():
        return list(reversed(link.client.xrevrange(name, count=count)))


def moved(place: Place, now: State, entries: Sequence[Entry]) -> Place:
    """The place behind entries that followed another one. At the end of the stream the count is known anew."""
    at = _text(entries[-1][0]) if entries else place.at
    return now.end if at == now.last else Place(at, place.added + len(entries))


def _pairs(told: Any) -> Any:
    return told.items() if isinstance(told, Mapping) else zip(told[::2], told[1::2], strict=True)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
