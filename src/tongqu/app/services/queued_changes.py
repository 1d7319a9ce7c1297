"""Which quarantined changes of a log go in, and in which order: none before an earlier one of its key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.app.services.reentering import Group, Ways, groups
from tongqu.core.connector import Sink
from tongqu.core.dirty import OPEN, Dirty
from tongqu.engine.following.net import key_texts
from tongqu.engine.following.steps import WAITING
from tongqu.kit.originals import restored

Row = Mapping[str, Any]


@dataclass
class Queue:
    """The changes of one key, in the order in which they came: those that go in, and how many stay behind one that is
    not mended."""

    rows: list[Row] = field(default_factory=list)
    held: bool = False


@dataclass
class Queued:
    """The changes of one stream of one sink that go in by this call. `waiting` are those that were meant and stay."""

    queues: dict[str, Queue] = field(default_factory=dict)
    waiting: int = 0
    _behind: dict[str, int] = field(default_factory=dict)

    def rounds(self) -> Iterator[list[Group]]:
        """Rounds in which each key comes once, each cut into groups; what comes behind a row that is `held` is left
        out."""
        left, number = [queue.rows for queue in self.queues.values() if queue.rows], 0
        while left:
            self._behind = {str(rows[number]["id"]): len(rows) - number - 1 for rows in left}
            some = sorted((rows[number] for rows in left), key=lambda row: (str(row["step"]), str(row["shape"])))
            yield list(groups(some))
            number += 1
            left = [rows for rows in left if str(rows[number - 1]["id"]) in self._behind and len(rows) > number]

    def held(self, id: str) -> None:
        """A row of this round did not go in."""
        self.waiting += self._behind.pop(id)


def queued(sink: Sink, ways: Ways, which: Dirty, chosen: Sequence[Row]) -> tuple[list[Queued], list[Row]]:
    """What of the chosen rows are changes of logs, with the changes that wait behind them; and the others, in order.

    A change that waits goes in as soon as all before it do. Unless single rows were asked for, those behind which
    nothing is left go in too.
    """
    free = not (which.ids or which.run or which.code or which.field)
    meant = {str(row["id"]) for row in chosen}
    streams = {(str(row["sync"]), str(row["stream"])) for row in chosen}
    if free:
        waits = Dirty(stream=which.stream, code=WAITING, states=OPEN, arrival=True, limit=which.limit)
        streams |= {(str(row["sync"]), str(row["stream"])) for row in sink.dirty(waits)}
    found: list[Queued] = []
    others = list(chosen)
    for sync, stream in sorted(streams):
        if not ways.follows(Group(sync, stream, "", "", ())):
            continue
        own = sink.dirty(Dirty(sync=sync, stream=stream, states=OPEN, arrival=True, limit=which.limit))
        known = {str(row["id"]): key for group in groups(own) for row, key in _keys(ways, group)}
        made = Queued()
        for row in own:
            _join(made, row, known.get(str(row["id"])), meant, free=free)
        found.append(made)
        others = [row for row in others if str(row["id"]) not in known]
    return found, others


def _join(made: Queued, row: Row, key: str | None, meant: set[str], *, free: bool) -> None:
    if key is None:
        return
    queue = made.queues.setdefault(key, Queue())
    wanted = str(row["id"]) in meant or (row["code"] == WAITING and (free or bool(queue.rows)))
    if wanted and not queue.held:
        queue.rows.append(row)
    else:
        queue.held = True
        made.waiting += wanted


def _keys(ways: Ways, group: Group) -> Iterable[tuple[Row, str]]:
    """The rows whose key in the target can be told, each with it: the key that they had when they came."""
    way, _ = ways.way(group)
    if way.follows is None:
        return
    names = way.follows.key
    back = restored([str(row["original"]) for row in group.rows], way.shape)
    texts = key_texts(back.rows, names).to_pylist()
    for place, text in zip(back.places, texts, strict=True):
        yield group.rows[place], text
