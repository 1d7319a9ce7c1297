"""Learns what others changed in a table from a column that grows with every change."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import NotFoundError, TongquError
from tongqu.core.server import Limits, Query
from tongqu.gateway.live.keys import key_text
from tongqu.gateway.live.ledger import place_of
from tongqu.gateway.policy.values import fitted
from tongqu.gateway.publication import Api, Publication
from tongqu.kit.trouble import Trouble
from tongqu.store.feed import Changed, Feed

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

PAGE = 500
PAGES = 20
"""Pages of one look; the rest comes with the next."""
MOST_SEEN = 20_000
"""Rows within the lag that are remembered, so that they are told once."""
LEASE = "cursors"
LEASE_SECONDS = 5.0
logger = logging.getLogger("tongqu.gateway")


@dataclass
class Followed:
    """How far one table was read. `mark` is the largest cursor and the key of its last row, as texts."""

    cursor: pa.Field[Any]
    keys: tuple[pa.Field[Any], ...]
    mark: list[str] | None = None
    seen: dict[tuple[str, ...], str] = field(default_factory=dict)
    due: float = 0.0
    trees: dict[tuple[int, bool], exp.Select] = field(default_factory=dict)
    """The questions that are asked again and again: servers know a tree by its identity."""


class Polling:
    """Follows the tables of APIs that declare `live: {cursor: …}`, in one process of a home at a time.

    Rows are read in the order of (cursor, key) from `lag_seconds` before the largest cursor on, and those that were
    told at that cursor are not told again: rows that share a cursor, or whose transaction ended late, are found.
    Deleted rows leave no trace in a cursor.
    """

    def __init__(self, feed: Feed, publication: Callable[[], Publication], holder: str, clock: Callable[[], float]):
        self._feed = feed
        self._publication = publication
        self._holder = holder
        self._clock = clock
        self._followed: dict[str, Followed] = {}
        self._renewed = 0.0
        self.trouble = Trouble("cursors", "cursors cannot be followed at the moment", logger)
        self._troubles: dict[str, tuple[Trouble, float]] = {}
        """Tables that cannot be read, and when they are looked at again."""

    async def run(self) -> None:
        """Look at what is due until cancelled."""
        wait = 0.0
        while True:
            await asyncio.sleep(wait or self._pause())
            try:
                await self._look()
                self.trouble.over()
                wait = 0.0
            except Exception as error:  # noqa: BLE001  # the next look may do better
                wait = self.trouble.failed(error)

    def _pause(self) -> float:
        """Seconds between looks at what is due: a part of the shortest time that an API asks for."""
        every = [api.entry.live.every_seconds for api in self._wanted().values() if api.entry.live]
        return min(0.25, *(one / 8 for one in every)) if every else 0.25

    async def _look(self) -> None:
        wanted = self._wanted()
        if not wanted or not self._mine():
            self._followed.clear()
            return
        for place, api in wanted.items():
            said = f"{api.path} cannot be followed by its cursor at the moment"
            trouble, again = self._troubles.get(place) or (Trouble("cursor", said, logger), 0.0)
            if again > self._clock():
                continue
            try:
                await self.look(place, api)
                trouble.over()
                self._troubles.pop(place, None)
            except TongquError as error:
                self._troubles[place] = trouble, self._clock() + trouble.failed(error)

    async def look(self, place: str, api: Api) -> int:
        """Read what is new in one table, if it is due, and append it; how many rows. The first look only finds where
        to begin."""
        live = api.entry.live
        followed = self._followed.get(place)
        if live is None or live.cursor is None or (followed is not None and followed.due > self._clock()):
            return 0
        if followed is None:
            followed = self._followed[place] = await self._begin(place, api, live.cursor)
        followed.due = self._clock() + live.every_seconds
        count = 0
        for _ in range(PAGES):
            found, more = await self._page(place, api, followed, live.lag_seconds)
            count += found
            if not more:
                break
        return count

    def _wanted(self) -> dict[str, Api]:
        apis = self._publication().apis.values()
        return {place_of(api): api for api in apis if api.entry.live and api.entry.live.cursor and api.table}

    def _mine(self) -> bool:
        now = self._clock()
        if now < self._renewed + LEASE_SECONDS / 3:
            return True
        mine = self._feed.lease(LEASE, self._holder, LEASE_SECONDS)
        self._renewed = now if mine else 0.0
        return mine

    async def _begin(self, place: str, api: Api, cursor: str) -> Followed:
        dataset = await api.server.describe(api.table)
        if cursor not in dataset.columns:
            raise NotFoundError(f"there is no field {cursor!r} to follow {api.path} by")
        keys = tuple(dataset.schema.field(name) for name in api.dataset.key)
        followed = Followed(dataset.schema.field(cursor), keys)
        kept = self._feed.cursor(place)
        if kept is not None:
            followed.mark = json.loads(kept)
            return followed
        page = await api.server.query(_select(api, followed, None, newest=True), "rows", Limits(rows=2))
        if page.values:
            texts = [key_text(value) for value in page.values[0]]
            followed.mark = texts
            followed.seen[tuple(texts[1:])] = texts[0]
        self._feed.append(place, [], "cursor", cursor=json.dumps(followed.mark or []))
        return followed

    async def _page(self, place: str, api: Api, followed: Followed, lag: float) -> tuple[int, bool]:
        """One page: how many rows were new, and whether there may be more. Nothing counts as told before it is kept."""
        start, last, rows = _floor(followed, lag), followed.mark, 0
        news: dict[tuple[str, ...], str] = {}
        for _ in range(MOST_SEEN // PAGE + 1):
            page = await api.server.query(_select(api, followed, start), "rows", Limits(rows=PAGE + 1))
            rows = len(page.values)
            for row in page.values:
                texts = [key_text(value) for value in row]
                key = tuple(texts[1:])
                if followed.seen.get(key) != texts[0]:
                    news[key] = texts[0]
                last = texts
            if rows < PAGE or len(news) >= PAGE:
                break
            start = last
        if news:
            changes = [Changed("update", dict(zip(api.dataset.key, key, strict=True))) for key in news]
            await asyncio.to_thread(self._feed.append, place, changes, "cursor", cursor=json.dumps(last))
            followed.mark = last
            followed.seen |= news
        _forget(followed, lag)
        return len(news), rows >= PAGE


def _floor(followed: Followed, lag: float) -> list[str] | None:
    """From where to read again: before the mark by the lag; a mark without key includes its own cursor."""
    if not followed.mark:
        return None
    if len(followed.seen) >= MOST_SEEN:
        return followed.mark
    return [_earlier(followed.mark[0], followed.cursor, lag)]


def _forget(followed: Followed, lag: float) -> None:
    """Rows before the floor are never read again."""
    if not followed.mark:
        return
    floor = fitted(_earlier(followed.mark[0], followed.cursor, lag), followed.cursor)
    kept = {key: text for key, text in followed.seen.items() if fitted(text, followed.cursor) >= floor}
    followed.seen = dict(list(kept.items())[-MOST_SEEN:])


def _earlier(text: str, cursor: pa.Field[Any], lag: float) -> str:
    value = fitted(text, cursor)
    if isinstance(value, datetime):
        value -= timedelta(seconds=lag)
    elif isinstance(value, date):
        return text
    return key_text(value)


def _select(api: Api, followed: Followed, start: list[str] | None, *, newest: bool = False) -> Query:
    """Cursor and key in their order, behind `start`."""
    fields, count = (followed.cursor, *followed.keys), len(start or ())
    tree = followed.trees.get((count, newest))
    if tree is None:
        tree = followed.trees[count, newest] = _tree(api, fields, count, newest=newest)
    values = zip(start or (), fields, strict=False)
    return Query(tree, {f"v{at}": fitted(text, one) for at, (text, one) in enumerate(values)}, fields)


def _tree(api: Api, fields: tuple[pa.Field[Any], ...], count: int, *, newest: bool) -> exp.Select:
    from sqlglot import exp

    columns = [exp.column(exp.to_identifier(one.name, quoted=True)) for one in fields]
    tree = exp.select(*[column.copy() for column in columns]).from_(
        exp.table_(exp.to_identifier(api.table, quoted=True))
    )
    tree = tree.where(exp.Not(this=exp.Is(this=columns[0].copy(), expression=exp.Null())))
    if count:
        tree = tree.where(_behind(columns, count, inclusive=count == 1))
    order = [exp.Ordered(this=column.copy(), desc=newest, nulls_first=False) for column in columns]
    return tree.order_by(*order).limit(1 if newest else PAGE)


def _behind(columns: list[exp.Column], count: int, *, inclusive: bool) -> exp.Expr:
    """(cursor, key…) > (v0, v1…), or cursor >= v0."""
    from sqlglot import exp

    holes = [exp.Placeholder(this=f"v{at}") for at in range(count)]
    if inclusive:
        return exp.GTE(this=columns[0].copy(), expression=holes[0])
    parts: list[exp.Expr] = []
    for at in range(count):
        same = [exp.EQ(this=columns[n].copy(), expression=holes[n].copy()) for n in range(at)]
        parts.append(exp.and_(*same, exp.GT(this=columns[at].copy(), expression=holes[at].copy())))
    return exp.or_(*parts)
