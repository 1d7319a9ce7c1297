"""Reads streams: what they hold up to an id as rows, and what comes as a log."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tongqu.connectors.redis.entries import Place, exists, fetch, moved, newest, numbers, state
from tongqu.connectors.redis.link import Link
from tongqu.connectors.redis.settings import RedisSettings
from tongqu.connectors.redis.shapes import written
from tongqu.connectors.redis.stream import Stream
from tongqu.core.data import Batch, Dataset, Read, Split
from tongqu.core.errors import NotFoundError
from tongqu.kit.messages.reader import learn
from tongqu.kit.messages.source import MessageSource, ended

if TYPE_CHECKING:
    from tongqu.core.log import Log

_PART = 5_000


class RedisSource(MessageSource):
    """Streams as datasets. A full read ends at the id that the stream had when the read began."""

    noun = "stream"

    def __init__(self, settings: RedisSettings):
        super().__init__(settings)
        self._streams: dict[str, Stream] = {}

    def check(self) -> Iterator[str]:
        """See Source.check."""
        link = yield from reached(self._settings)
        with closing(link):
            names = _names(link)
            yield f"streams: {len(names)}"
            yield from self._registered.check()
            if names:
                state(link, names[0])
                newest(link, names[0], 1)
                yield "sample"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets: streams that are there, and the datasets of the settings whose streams are."""
        prefix = len(self._settings.prefix)
        said = {name: self._settings.said(name).stream for name in self._settings.streams}
        with closing(Link(self._settings)) as link:
            there = _names(link)
            names = {name for name, stream in said.items() if stream in there or exists(link, stream)}
        names |= {stream[prefix:] for stream in there if stream not in said.values() and stream[prefix:] not in said}
        wanted = [n for n in sorted(names) if patterns is None or any(fnmatchcase(n, p) for p in patterns)]
        return [self.table(name).described() for name in wanted]

    def table(self, name: str) -> Stream:
        """See MessageSource.table."""
        if name not in self._streams:
            settings = self._settings.said(name)
            with closing(Link(self._settings)) as link:
                if not exists(link, settings.stream):
                    raise NotFoundError(
                        f"there is no stream {settings.stream!r}", path=name, hint="check stream and prefix"
                    )
                known = None
                if not settings.fields and settings.envelope == "plain" and settings.format == "json":
                    known = written(link, settings.stream)
                if known is None:
                    declared = bool(settings.fields) and (not settings.changes or bool(settings.key))
                    sample = [] if declared else newest(link, settings.stream, self._settings.sample)
                    blank = Stream(name, settings, (), ())
                    known = learn(settings, blank.values(sample), blank.keys(sample), self.registry)
            fields, key = known
            if not fields:
                raise self.unlearnt(name, settings.stream)
            self._streams[name] = Stream(name, settings, tuple(fields), tuple(key), self.registry)
        return self._streams[name]

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume: a stream is cut at any id."""
        del dataset
        return True

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits: one, with its bounds of now."""
        del wanted
        with closing(Link(self._settings)) as link:
            now = state(link, self._settings.said(dataset.name).stream)
        return [Split("0", dataset.name, now.begin.position() | {"last": now.last})]

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read. Raises InvalidPlanError for a stream of changes, whose rows are what they add up to."""
        stream: Stream = self.plain(read.dataset.name)
        spec = read.split.spec or self.splits(read.dataset, 1)[0].spec
        last = str((read.until or {}).get("at", spec["last"]))
        place = [Place(**{name: (read.after or spec)[name] for name in ("at", "added")})]
        with closing(Link(self._settings)) as link:
            yield from ended(
                read, self._parts(read, stream, link, place, last),
                lambda: self.batch(stream, read, [], place[0].position()),
                lambda held: held.position if place[0].order >= numbers(last) else None,
            )  # fmt: skip

    def _parts(self, read: Read, stream: Stream, link: Link, place: list[Place], last: str) -> Iterator[Batch]:
        """Batches behind a place, which moves with them."""
        while place[0].order < numbers(last) and not read.stop.is_set():
            now, came = fetch(link, stream.name, place[0].at, min(read.batch_rows, _PART))
            now.holds(place[0], link.where)
            entries = [entry for entry in came if numbers(entry[0].decode()) <= numbers(last)]
            if not entries:  # what was to come was deleted one by one
                place[0] = Place(last, place[0].added)
                return
            place[0] = moved(place[0], now, entries)
            yield self.batch(stream, read, entries, place[0].position())

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        from tongqu.connectors.redis.log import RedisLog

        return RedisLog(self._settings, name, [self.table(dataset.name) for dataset in datasets])


def _names(link: Link) -> list[str]:
    """The streams below the prefix."""
    prefix = link.settings.prefix
    pattern = "".join(f"\\{letter}" if letter in "*?[]\\^" else letter for letter in prefix) + "*"
    with link.told():
        found: list[Any] = list(link.client.scan_iter(pattern, count=1_000, _type="stream"))
    return sorted({name.decode("utf-8", "backslashreplace") for name in found})


def reached(settings: RedisSettings) -> Generator[str, None, Link]:
    """The stages of a check up to the login; returns the connection, which the caller closes."""
    way = settings.egress((settings.host, settings.port))
    yield from way.stages(settings.host, settings.port, seconds=settings.connect_seconds)
    link = Link(settings)
    try:
        yield f"tls: {link.secured or 'not used'}"
        yield f"login (Redis {link.version}, database {settings.database})"
    except BaseException:
        link.close()
        raise
    return link
