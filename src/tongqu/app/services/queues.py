"""Queues and who reads them: looked at, read again, cut short."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import InvalidSettingsError, NotFoundError

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.services.ends import Ends
    from tongqu.kit.queue.overview import Looked
    from tongqu.kit.queue.queue import Queue

_CONNECTOR = "queue"
_DAY = 86_400.0


@dataclass(frozen=True)
class Cut:
    """What `trim` drops: the records up to `to`, those beyond `bytes`, those older than `days`; with `unread` also
    what a reader has not read."""

    to: int | None = None
    bytes: int | None = None
    days: float | None = None
    unread: bool = False


@dataclass(frozen=True)
class Queues:
    """Every method gives the document that a command prints. A place is a connection's name or a URL."""

    project: Callable[[], Project]
    ends: Ends

    def list(self, places: tuple[str, ...]) -> dict[str, Any]:
        """The queues that are named, or all of the project, with their topics."""
        names = places or tuple(
            name
            for name, settings in self.project().connections.items()
            if settings.get("type") == _CONNECTOR or settings.get("queue")
        )
        return {"queues": [self.show(name, "") for name in names]}

    def show(self, place: str, topic: str) -> dict[str, Any]:
        """One queue: its topics or the one that is named, their readers, and the tails that were cut."""
        from tongqu.kit.queue.overview import overview

        with self._elsewhere(place) as other:
            if other is not None:
                found = _one(other.overview(), topic, place)
                return {"queue": place, "topics": [_shown(one) for one in found], "cuts": []}
        with self._opened(place) as queue:
            if not queue.exists:
                return {"queue": place, "topics": [], "cuts": []}
            found = _one(queue.look(overview), topic, place)
            cuts = [{**cut, "at": _told(cut["at"])} for cut in queue.cuts()]
            return {"queue": place, "topics": [_shown(one) for one in found], "cuts": cuts}

    def replay(self, place: str, topic: str, reader: str, after: int) -> dict[str, Any]:
        """Have a pipeline read again what is behind a record, when it begins next."""
        with self._elsewhere(place) as other:
            if other is not None:
                raise InvalidSettingsError(
                    f"{place!r} is in another system, where a reader's place is in its sink alone", path="queue",
                    hint="run the pipeline that reads it with --restart: it reads from the beginning",
                )  # fmt: skip
        with self._made(place) as queue:
            known = {one.name: one for one in queue.topics()}
            if topic not in known:
                raise NotFoundError(f"there is no topic {topic!r} in {place}", hint="see `tongqu queue list`")
            trimmed, last = known[topic].trimmed, known[topic].last
            if not trimmed <= after <= last:
                raise InvalidSettingsError(
                    f"the topic {topic!r} has no record behind {after} to begin with", path="--after",
                    hint=f"a number from {trimmed} to {last}",
                )  # fmt: skip
            if not queue.do(lambda turn: turn.replay(reader, topic, after)).result():
                raise NotFoundError(f"nobody reads {topic!r} as {reader!r}", hint="see `tongqu queue show`")
            return {"queue": place, "topic": topic, "reader": reader, "after": after}

    def trim(self, place: str, topic: str, cut: Cut) -> dict[str, Any]:
        """Drop the oldest records of a topic; how many."""
        from tongqu.kit.queue.queue import Keep

        if cut.to is None and cut.bytes is None and cut.days is None:
            raise InvalidSettingsError(
                "nothing says what is to be dropped", path="--to", hint="give --to, --bytes or --days"
            )
        with self._elsewhere(place) as other:
            if other is not None:
                if cut.to is None:
                    hint = "give --to; retention.ms and retention.bytes of the topic do the rest"
                    raise InvalidSettingsError(f"{place!r} is in another system", path="--to", hint=hint)
                return {"queue": place, "topic": topic, "dropped": other.trim(topic, cut.to)}
        keep = Keep(cut.bytes, None if cut.days is None else cut.days * _DAY, cut.unread)
        with self._made(place) as queue:
            return {"queue": place, "topic": topic, "dropped": queue.trim(topic, keep, to=cut.to)}

    def forget(self, place: str, reader: str) -> dict[str, Any]:
        """Keep nothing for a reader any more; in how many topics it was known."""
        with self._elsewhere(place) as other:
            if other is not None:
                return {"queue": place, "reader": reader, "topics": other.forget(reader)}
        with self._made(place) as queue:
            names = [one.name for one in queue.topics()]
            return {"queue": place, "reader": reader, "topics": queue.do(lambda t: t.forget(reader, names)).result()}

    @contextmanager
    def _elsewhere(self, place: str) -> Iterator[Looked | None]:
        """A queue in another system; None if it is a file."""
        from tongqu.kit.queue.overview import Looked

        end = self.ends.end(place)
        if end.connector.name == _CONNECTOR or not getattr(end.settings, "queue", ""):
            yield None
            return
        source = end.source()
        try:
            yield source if isinstance(source, Looked) else None
        finally:
            source.close()

    @contextmanager
    def _made(self, place: str) -> Iterator[Queue]:
        """A queue that is there."""
        with self._opened(place) as queue:
            if not queue.exists:
                raise NotFoundError(f"there is no queue {place}", hint="it is made by whoever writes into it first")
            yield queue

    @contextmanager
    def _opened(self, place: str) -> Iterator[Queue]:
        from tongqu.kit.queue.queue import Queue

        end = self.ends.end(place)
        if end.connector.name != _CONNECTOR:
            raise InvalidSettingsError(f"{place!r} is no queue but {end.connector.name}", path="queue")
        queue = Queue(str(getattr(end.settings, "path", "")))
        try:
            yield queue
        finally:
            queue.close()


def _one(found: list[dict[str, Any]], topic: str, place: str) -> list[dict[str, Any]]:
    """All topics, or the one that is named."""
    ours = [one for one in found if not topic or one["name"] == topic]
    if topic and not ours:
        raise NotFoundError(f"there is no topic {topic!r} in {place}", hint="see `tongqu queue list`")
    return ours


def _shown(topic: Mapping[str, Any]) -> dict[str, Any]:
    readers = [{**one, "seen_at": _told(one["seen_at"])} for one in topic["readers"]]
    return {**topic, "oldest": _told(topic["oldest"]), "readers": readers}


def _told(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
