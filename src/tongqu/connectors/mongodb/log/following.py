"""Follows collections by one change stream of their database, and goes on after any event by the server's own token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from time import monotonic
from typing import Any

import pyarrow as pa

from tongqu.connectors.mongodb.collection import ID, Collection
from tongqu.connectors.mongodb.log import examining
from tongqu.connectors.mongodb.log.changes import Events, Followed
from tongqu.connectors.mongodb.log.feed import NO_SET, RESYNC, Feed, Place, place, seen, told
from tongqu.connectors.mongodb.reach import Reach
from tongqu.connectors.mongodb.settings import MongodbSettings
from tongqu.core.data import Batch, Dataset, Position
from tongqu.core.errors import ConnectError, InvalidPlanError, ReadError, SchemaError
from tongqu.core.log import Finding, Follow, Lag, Log

_WAIT, _SOON, _READY = 0.5, 0.05, 0.05
"""How long the server waits for events, also where an end is near, and how long the reader for the writer; seconds."""
_MOST = 10_000
"""Events at once."""
_FEW = 256


class MongodbLog(Log):
    """The changes of some collections of a database. A position is the cluster time of an event with the server's
    token behind it: `{time: [seconds, number], token: "{…}", set: "rs0"}`."""

    def __init__(self, settings: MongodbSettings, name: str, followed: Sequence[tuple[Dataset, Collection]]):
        self._reach = Reach(settings)
        self._name = name
        self._followed = [Followed(dataset, _usable(dataset, collection)) for dataset, collection in followed]
        self._lost: set[str] = set()
        """Collections that the log has lost while it is read."""
        self._names = list(dict.fromkeys(one.collection.source for one in self._followed))

    def begin(self) -> Position:
        """See Log.begin. The server keeps its log by size and age, not for its readers."""
        return self.head()

    def head(self) -> Position:
        """See Log.head: the newest operation, waited for until a majority has it, since no stream shows it before. So
        whatever is read afterwards sees it."""
        hello = self._reach.hello()
        if not hello.get("setName") and hello.get("msg") != "isdbgrid":
            raise ReadError("a server that is alone keeps no log of changes", path=self._reach.where, hint=NO_SET)
        with told(self._reach.where), self._reach.client().start_session(causal_consistency=True) as session:
            database = self._reach.database()
            now = database.command("ping")["operationTime"]
            session.advance_operation_time(now)
            database[self._names[0]].find_one({}, {ID: 1}, session=session)
        return Place((now.time, now.inc), set=str(hello.get("setName", ""))).position()

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        return place(position).time >= place(until).time

    # ---- reading

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        size = max(1, min(follow.batch_rows, _MOST))
        self._lost = set()
        try:
            with closing(Feed(self._reach, self._names, place(follow.after), size)) as feed:
                yield from self._follow(feed, follow)
        except ConnectError:
            self._reach.forget()
            raise

    def _follow(self, feed: Feed, follow: Follow) -> Iterator[Batch]:
        at, until = place(follow.after), place(follow.until) if follow.until is not None else None
        held: Sequence[bytes] = ()
        within: Place | None = None  # where a transaction stands of which rows were given, and more may come
        said, few = monotonic(), False
        while not follow.stop.is_set() and (until is None or at.time < until.time):
            if few:
                follow.ready(_READY)
            sent = feed.take(_WAIT if until is None else _SOON)
            raw, before = [*held, *sent.events], at
            held, few = (), 0 < len(sent.events) < _FEW
            if raw:
                events = Events(raw)
                cut = events.last_whole() if sent.full else len(raw)
                within = None if cut else events.place(len(raw) - 1, at)
                held = raw[cut:] if cut else ()
                if cut:
                    at = events.place(cut - 1, at)
                    at = at if sent.full or not sent.token else replace(at, token=sent.token)
                for batch in self._batches(events, cut or len(raw), at if cut else None, follow):
                    said = monotonic()
                    yield batch
                continue
            at, within = within or at, None
            if sent.token:
                at = replace(at, token=sent.token, time=max(at.time, seen(sent.token)))
            if until is not None and until.set and sent.looked:
                at = replace(at, time=max(at.time, until.time))  # a member of a set has looked at all it has
            if at.time != before.time or monotonic() - said > _WAIT:
                said = monotonic()
                yield self._heartbeat(at)

    def _batches(self, events: Events, until: int, at: Place | None, follow: Follow) -> Iterator[Batch]:
        """The rows of the first so many events, collection by collection; the last one has the place behind all. Raises
        SchemaError at what ends the log."""
        first = 0
        for row, what, names in events.endings():
            if row >= until:
                break
            yield from self._part(events, (first, row), events.place(row - 1, at) if at is not None and row else None)
            text = f"the log holds {what}, behind which the documents are other ones"
            error = SchemaError(text, path=self._reach.where, hint=RESYNC)
            if not names:
                raise error
            for one in self._followed:
                if one.collection.source in names - self._lost:
                    follow.lose(one.dataset.name, error)
            self._lost |= names
            first = row + 1
        made = list(self._part(events, (first, until), at))
        yield from made
        if at is not None and not made:
            yield self._heartbeat(at)

    def _part(self, events: Events, rows: tuple[int, int], at: Place | None) -> Iterator[Batch]:
        """The rows of these events, the last batch with the place."""
        left = [one for one in self._followed if one.collection.source not in self._lost]
        made = [batch for one in left if (batch := one.batch(events, rows, self._now)) is not None]
        if made and at is not None:
            made = [*made[:-1], replace(made[-1], position=at.position())]
        yield from made

    def _now(self, name: str, ids: list[Any]) -> bytes:
        """See changes.Lookup."""
        with told(self._reach.where):
            found = self._reach.database()[name].find_raw_batches({ID: {"$in": ids}})
            return b"".join(bytes(part) for part in found)

    def _heartbeat(self, at: Place) -> Batch:
        dataset = self._followed[0].dataset
        empty = pa.RecordBatch.from_pylist([], schema=dataset.schema)
        return Batch(dataset.name, empty, at.position(), kind="heartbeat")

    # ---- what is known of it

    def lag(self, position: Position) -> Lag:
        """See Log.lag: how old the first event behind the position is, and how long until the oldest that the server
        keeps is younger."""
        with closing(Feed(self._reach, self._names, place(position), 1)) as feed:
            sent = feed.take(_SOON)
        if not sent.events:
            return Lag(seconds=0.0)
        first = Events(sent.events).place(0, place(position)).time[0]
        with told(self._reach.where):
            now = self._reach.database().command("ping")["operationTime"].time
        kept = examining.kept(self._reach)
        return Lag(
            seconds=float(max(now - first, 0)), until_loss=None if kept is None else float(max(first - kept[0], 0))
        )

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        return examining.examine(self._reach, self._names, self._follows)

    def _follows(self) -> None:
        """Open a stream, and close it."""
        Feed(self._reach, self._names, place(self.head()), 1).close()

    def close(self) -> None:
        """See Log.close."""
        self._reach.forget()


def _usable(dataset: Dataset, collection: Collection) -> Collection:
    """A collection whose changes make whole rows with keys; raises InvalidPlanError for others."""
    if collection.inside:
        raise InvalidPlanError(
            f"{dataset.name!r} is an array in {collection.source!r}: a change does not tell which elements are gone",
            path=dataset.name, hint="follow the collection with nested: columns or json",
        )  # fmt: skip
    if tuple(dataset.key) != tuple(collection.key):
        raise InvalidPlanError(
            f"deletes of {dataset.name!r} tell {', '.join(collection.key) or 'no key'} only",
            path=dataset.name, hint="follow it by that key, or sync it in full",
        )  # fmt: skip
    for name in collection.key:
        kind = collection.schema.field(name).type
        if name != ID and pa.types.is_timestamp(kind) and kind.unit in ("us", "ns"):
            raise InvalidPlanError(
                f"{name!r} of {dataset.name!r} is finer than _id, which holds milliseconds", path=dataset.name,
                hint="choose another key, or sync it in full",
            )  # fmt: skip
    return collection
