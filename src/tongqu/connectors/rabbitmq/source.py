"""Reads queues: stream queues up to where they end, and all queues as logs."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tongqu.connectors.rabbitmq.link import Link
from tongqu.connectors.rabbitmq.queue import Queue, key_of, offset_of
from tongqu.connectors.rabbitmq.reading import between, ends
from tongqu.connectors.rabbitmq.settings import QueueSettings, RabbitmqSettings
from tongqu.connectors.rabbitmq.shapes import written
from tongqu.core.data import Batch, Dataset, Read, Split
from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.kit.messages.reader import learn
from tongqu.kit.messages.shapes import SHAPES, fields
from tongqu.kit.messages.source import MessageSource, ended

if TYPE_CHECKING:
    from tongqu.core.log import Log

_GLOB = set("*?[")


class RabbitmqSource(MessageSource):
    """Queues as datasets. A full read of a stream queue ends where it ended when the read began; other queues give each
    message once and are only followed."""

    noun = "queue"

    def __init__(self, settings: RabbitmqSettings):
        super().__init__(settings)
        self._queues: dict[str, Queue] = {}
        self._ours: dict[str, dict[str, Any]] | None = None

    def check(self) -> Iterator[str]:
        """See Source.check. Takes no message: where a sample would take it from others, only the count is asked."""
        link = yield from reached(self._settings)
        with closing(link):
            yield from self._registered.check()
            for name in self._settings.queues:
                queue = self._settings.said(name).queue
                ready = link.exists(queue)
                if ready is None:
                    raise missing(queue, name)
                yield f"sample ({queue}: {ready} ready)"

    def _written(self) -> dict[str, dict[str, Any]]:
        if self._ours is None:
            self._ours = written(self._settings)
        return self._ours

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets: queues of the settings, those that Tongqu wrote, and those asked for by their name."""
        prefix = self._settings.prefix
        said = {name: self._settings.said(name).queue for name in self._settings.queues}
        names = {**{queue.removeprefix(prefix): queue for queue in self._written() if queue.startswith(prefix)}, **said}
        names |= {one: self._settings.said(one).queue for one in patterns or () if not set(one) & _GLOB}
        wanted = [n for n in sorted(names) if patterns is None or any(fnmatchcase(n, p) for p in patterns)]
        with closing(Link(self._settings)) as link:
            there = [n for n in wanted if not n.endswith(SHAPES) and link.exists(names[n]) is not None]
        return [self.table(name).described() for name in there]

    def table(self, name: str) -> Queue:
        """See MessageSource.table; raises InvalidPlanError where a sample would take messages from others."""
        if name not in self._queues:
            settings = self._settings.said(name)
            with closing(Link(self._settings)) as link:
                if link.exists(settings.queue) is None:
                    raise missing(settings.queue, name)
            made, key = self._known(settings, name)
            if not made:
                raise self.unlearnt(name, settings.queue)
            self._queues[name] = Queue(name, settings, tuple(made), tuple(key), self.registry)
        return self._queues[name]

    def _known(self, settings: QueueSettings, name: str) -> tuple[list[Any], tuple[str, ...]]:
        plain = settings.envelope == "plain" and settings.format == "json"
        if not settings.fields and plain and settings.queue in self._written():
            return fields(self._written()[settings.queue])
        declared = (bool(settings.fields) or settings.format in ("text", "bytes")) and (
            not settings.changes or bool(settings.key)
        )
        if declared:
            return learn(settings, [], [], self.registry)
        if settings.kind != "stream":
            raise InvalidPlanError(
                f"the fields of {settings.queue!r} must be declared: looking at its messages would take them from "
                "others", path=name, hint="queues: {NAME: {fields: {id: int64, …}, key: [id]}}, or format: text",
            )  # fmt: skip
        start, end = ends(self._settings, settings.queue)
        sample: list[Any] = []
        for part in between(self._settings, settings.queue, max(start, end - self._settings.sample), end):
            sample += part
        keys = [key_of(message) for message in sample]
        return learn(settings, Queue(name, settings, (), ()).values(sample), keys, self.registry)

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume: a stream queue is cut at any offset."""
        return bool(self._settings.said(dataset.name).kind == "stream")

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits: one, with its bounds of now."""
        del wanted
        settings = self._settings.said(dataset.name)
        if settings.kind != "stream":
            raise InvalidPlanError(
                f"the {settings.kind} queue {settings.queue!r} gives each message once and has no end",
                path=dataset.name, hint="sync it with mode: stream",
            )  # fmt: skip
        start, end = ends(self._settings, settings.queue)
        return [Split("0", dataset.name, {"start": start, "end": end})]

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read. Raises InvalidPlanError for a queue of changes, whose rows are what they add up to."""
        queue: Queue = self.plain(read.dataset.name)
        spec = read.split.spec or self.splits(read.dataset, 1)[0].spec
        at = int((read.after or {}).get("offset", spec["start"]))
        end = int((read.until or {}).get("offset", spec["end"]))
        place = [at]
        yield from ended(
            read, self._parts(read, queue, place, end), lambda: self.batch(queue, read, [], {"offset": at}),
            lambda _: {"offset": end} if place[0] >= end else None,
        )  # fmt: skip

    def _parts(self, read: Read, queue: Queue, place: list[int], end: int) -> Iterator[Batch]:
        """Batches from a place on, which moves with them."""
        for part in between(self._settings, queue.name, place[0], end):
            if read.stop.is_set():
                return
            for start in range(0, len(part), read.batch_rows):
                some = part[start : start + read.batch_rows]
                place[0] = offset_of(some[-1]) + 1
                yield self.batch(queue, read, some, {"offset": place[0]})

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        from tongqu.connectors.rabbitmq.log import RabbitmqLog

        return RabbitmqLog(self._settings, name, [self.table(dataset.name) for dataset in datasets])


def reached(settings: RabbitmqSettings) -> Generator[str, None, Link]:
    """The stages of a check up to the virtual host; returns the connection, which the caller closes."""
    way = settings.egress((settings.host, settings.port))
    yield from way.stages(settings.host, settings.port, seconds=settings.connect_seconds)
    link = Link(settings)
    try:
        yield f"tls: {link.secured or 'not used'}"
        yield f"login (RabbitMQ {link.version}, virtual host {settings.virtual_host})"
    except BaseException:
        link.close()
        raise
    return link


def missing(queue: str, dataset: str) -> NotFoundError:
    """The error for a queue that is not there."""
    return NotFoundError(f"there is no queue {queue!r}", path=dataset, hint="check queue, prefix and virtual_host")
