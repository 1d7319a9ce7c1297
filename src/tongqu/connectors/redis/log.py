"""Follows streams by our own places: what comes is read in order, whoever else reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from time import monotonic, time
from typing import Any

from tongqu.connectors.redis.entries import Entry, Place, State, fetch, moved, numbers, state
from tongqu.connectors.redis.link import Link
from tongqu.connectors.redis.settings import RedisSettings
from tongqu.connectors.redis.stream import Stream
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Position
from tongqu.core.errors import LostPositionError, NotFoundError
from tongqu.core.log import Finding, Follow, Lag, Log
from tongqu.kit.messages.logs import batches, beginning, heartbeat, only_changes

_IDLE, _POLL_MS, _PART = 1.0, 100, 5_000


class RedisLog(Log):
    """The entries of some streams. A position is, by dataset, the id of the last entry that was read and how many were
    ever appended up to it: `{streams: {orders: {at: "1763-0", added: 5}}}`."""

    def __init__(self, settings: RedisSettings, name: str, streams: Sequence[Stream]):
        self._settings = settings
        self._streams = {stream.dataset: stream for stream in streams}
        self.changes = only_changes(name, "stream", streams)

    def begin(self) -> Position:
        """See Log.begin: where streams begin or, with `start: latest`, end. Changes are always read from the beginning:
        what they add up to is the table."""
        latest = self._settings.start == "latest" and not self.changes
        return _position({name: now.end if latest else now.begin for name, now in self._states().items()})

    def snapshot(self) -> Source | None:
        """See Log.snapshot: nothing has to be read beside streams of changes."""
        return beginning([*self._streams.values()])

    def head(self) -> Position:
        """See Log.head."""
        return _position({name: now.end for name, now in self._states().items()})

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        ours = places(position)
        return all(ours.get(name, Place()).order >= place.order for name, place in places(until).items())

    def _states(self) -> dict[str, State]:
        with closing(Link(self._settings)) as link:
            return {name: state(link, stream.name) for name, stream in self._streams.items()}

    # ---- reading

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        with closing(Link(self._settings)) as link:
            yield from self._follow(link, follow)

    def _follow(self, link: Link, follow: Follow) -> Iterator[Batch]:
        known = places(follow.after)
        at = {name: self._begun(link, stream, known.get(name)) for name, stream in self._streams.items()}
        said = monotonic()
        while not follow.stop.is_set():
            if follow.until is not None and self.reached(_position(at), follow.until):
                if at != known:
                    yield self._heartbeat(at)
                return
            fresh = self._take(link, at, max(1, min(follow.batch_rows, _PART)))
            if fresh:
                decoded = [(name, self._streams[name].rows(entries)) for name, entries in fresh.items()]
                yield from batches(decoded, _position(at))
                said = monotonic()
                continue
            if monotonic() - said > _IDLE:
                said = monotonic()
                yield self._heartbeat(at)
            self._wait(link, at)

    def _take(self, link: Link, at: dict[str, Place], most: int) -> dict[str, list[Entry]]:
        """What has come behind our places, which move; raises LostPositionError if some of it is gone."""
        fresh = {}
        for name, stream in self._streams.items():
            now, entries = self._fetched(link, stream, at[name], most)
            if entries:
                fresh[name] = entries
                at[name] = moved(at[name], now, entries)
            elif at[name].order < numbers(now.last):  # what followed was deleted one by one
                at[name] = now.end
        return fresh

    def _begun(self, link: Link, stream: Stream, place: Place | None) -> Place:
        """Our place in a stream, which is looked at first: one behind all that is there would seem to have
        reached any end."""
        if place is None:
            return state(link, stream.name).begin
        self._fetched(link, stream, place, 0)
        return place

    def _fetched(self, link: Link, stream: Stream, place: Place, most: int) -> tuple[State, list[Entry]]:
        try:
            now, entries = fetch(link, stream.name, place.at, most)
        except NotFoundError as error:
            hint = "sync again with --restart, which reads what the stream has then"
            raise LostPositionError(f"the stream {stream.name} is gone", path=link.where, hint=hint) from error
        now.holds(place, link.where)
        return now, entries

    def _wait(self, link: Link, at: Mapping[str, Place]) -> None:
        """Wait for a moment, or until something comes."""
        names = {self._streams[name].name: place.at for name, place in at.items()}
        with link.told():
            link.client.xread(names, count=1, block=_POLL_MS)

    def _heartbeat(self, at: Mapping[str, Place]) -> Batch:
        return heartbeat(next(iter(self._streams.values())).described(), _position(at))

    # ---- what is known of it

    def lag(self, position: Position) -> Lag:
        """See Log.lag: entries, and how long ago the next was appended, by the time in its id."""
        ours, behind, seconds = places(position), 0, None
        with closing(Link(self._settings)) as link:
            for name, stream in self._streams.items():
                place = ours.get(name, Place())
                now, following = fetch(link, stream.name, place.at, 1)
                if not following:
                    continue
                behind += max(min(now.added - place.added, now.length), 1)
                age = max(time() - numbers(following[0][0].decode())[0] / 1000, 0.0)
                seconds = max(seconds or 0.0, age)
        return Lag(rows=behind, seconds=seconds)

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        with closing(Link(self._settings)) as link:
            found = [
                Finding("stream", "ok", f"{now.name}: {now.length} of {now.added} entries are there")
                for now in (state(link, stream.name) for stream in self._streams.values())
            ]
            with link.told():
                kept = link.client.info("persistence")
        if not kept.get("aof_enabled"):
            told = "appendonly is off: what the server has not saved is gone with it"
            found.append(Finding("persistence", "warning", told, "CONFIG SET appendonly yes"))
        return found


def places(position: Position) -> dict[str, Place]:
    """The places of a position, by dataset."""
    told: Mapping[str, Any] = position.get("streams") or {}
    return {name: Place(str(one["at"]), int(one["added"])) for name, one in told.items()}


def _position(at: Mapping[str, Place]) -> Position:
    return {"streams": {name: place.position() for name, place in sorted(at.items())}}
