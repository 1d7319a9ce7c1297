"""Reads queues: stream queues up to where they end, and all queues as logs."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.connectors.rabbitmq.link import Link
from tongqu.connectors.rabbitmq.queue import Queue, bodies, key_of, offset_of
from tongqu.connectors.rabbitmq.reading import between, ends
from tongqu.connectors.rabbitmq.settings import QueueSettings, RabbitmqSettings
from tongqu.connectors.rabbitmq.shapes import SHAPES, fields, written
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Read, Split
from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.kit.messages.reader import learn
from tongqu.kit.messages.registry import SchemaRegistry

if TYPE_CHECKING:
    from tongqu.core.log import Log

_GLOB = set("*?[")


class RabbitmqSource(Source):
    """Queues as datasets. A full read of a stream queue ends where it ended when the read began; other queues give each
    message once and are only followed."""

    def __init__(self, settings: RabbitmqSettings):
        self._settings = settings
        self._folder: Path | None = None
        self._registry: SchemaRegistry | None = None
        self._queues: dict[str, Queue] = {}
        self._ours: dict[str, dict[str, Any]] | None = None

    def lodge(self, folder: Path) -> None:
        """See Source.lodge."""
        self._folder = folder

    @property
    def registry(self) -> SchemaRegistry | None:
        """The schema registry, if the connection names one."""
        if self._registry is None and self._settings.registry is not None:
            self._registry = SchemaRegistry(self._settings.registry, self._folder)
        return self._registry

    def check(self) -> Iterator[str]:
        """See Source.check. Takes no message: where a sample would take it from others, only the count is asked."""
        link = yield from reached(self._settings)
        with closing(link):
            if self.registry is not None:
                self.registry.subjects()
                yield "schema registry"
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
        return [self.queue(name).described() for name in there]

    def queue(self, name: str) -> Queue:
        """A dataset, its fields known or learnt; raises NotFoundError, and InvalidPlanError where a sample would take
        messages from others."""
        if name not in self._queues:
            settings = self._settings.said(name)
            with closing(Link(self._settings)) as link:
                if link.exists(settings.queue) is None:
                    raise missing(settings.queue, name)
            made, key = self._known(settings, name)
            if not made:
                raise NotFoundError(
                    f"queue {settings.queue!r} has no message from which its fields could be learnt", path=name,
                    hint="declare them: queues: {NAME: {fields: {id: int64, …}, key: [id]}}",
                )  # fmt: skip
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
        return learn(settings, bodies(settings, sample), [key_of(message) for message in sample], self.registry)

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume: a stream queue is cut at any offset."""
        return self._settings.said(dataset.name).kind == "stream"

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
        queue = self.queue(read.dataset.name)
        if queue.settings.changes:
            raise InvalidPlanError(
                f"the queue of {read.dataset.name!r} tells changes in the envelope {queue.settings.envelope}",
                path=read.dataset.name, hint="sync it with mode: stream, which keeps the newest state of each key",
            )  # fmt: skip
        spec = read.split.spec or self.splits(read.dataset, 1)[0].spec
        at = int((read.after or {}).get("offset", spec["start"]))
        end = int((read.until or {}).get("offset", spec["end"]))
        held: Batch | None = None
        for part in between(self._settings, queue.name, at, end):
            if read.stop.is_set():
                break
            for start in range(0, len(part), read.batch_rows):
                some = part[start : start + read.batch_rows]
                if held is not None:
                    yield held
                at = offset_of(some[-1]) + 1
                held = self._batch(queue, read, some, at)
        if held is None and not read.stop.is_set():
            held = self._batch(queue, read, [], at)
        if held is not None:
            if at >= end and (read.until is None or read.until.get("end")):
                held = replace(held, position={"offset": end, "end": True})
            yield held

    def _batch(self, queue: Queue, read: Read, messages: Sequence[Any], at: int) -> Batch:
        decoded = queue.rows(messages)
        rows = decoded.rows if read.columns is None else decoded.rows.select(list(read.columns))
        return Batch(read.dataset.name, rows, {"offset": at}, bad=decoded.bad)

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        from tongqu.connectors.rabbitmq.log import RabbitmqLog

        return RabbitmqLog(self._settings, name, [self.queue(dataset.name) for dataset in datasets])

    def close(self) -> None:
        """See Source.close."""
        if self._registry is not None:
            self._registry.close()
            self._registry = None


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
