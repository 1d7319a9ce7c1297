"""Reads streams: what they hold up to a sequence as rows, and what comes as a log."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.connectors.nats.jetstream import JetStream, busy, lost
from tongqu.connectors.nats.settings import NatsSettings
from tongqu.connectors.nats.shapes import written
from tongqu.connectors.nats.subject import Subject, key_of, values
from tongqu.connectors.nats.wire import Message
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Read, Split
from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.kit.messages.reader import learn
from tongqu.kit.messages.registry import SchemaRegistry

if TYPE_CHECKING:
    from tongqu.core.log import Log


class NatsSource(Source):
    """Streams as datasets. A full read ends at the sequence that the stream had when the read began."""

    def __init__(self, settings: NatsSettings):
        self._settings = settings
        self._folder: Path | None = None
        self._registry: SchemaRegistry | None = None
        self._subjects: dict[str, Subject] = {}
        self._own: JetStream | None = None

    def lodge(self, folder: Path) -> None:
        """See Source.lodge."""
        self._folder = folder

    @property
    def registry(self) -> SchemaRegistry | None:
        """The schema registry, if the connection names one."""
        if self._registry is None and self._settings.registry is not None:
            self._registry = SchemaRegistry(self._settings.registry, self._folder)
        return self._registry

    @property
    def _js(self) -> JetStream:
        if self._own is None:
            self._own = JetStream(self._settings)
        return self._own

    def check(self) -> Iterator[str]:
        """See Source.check."""
        jetstream = yield from reached(self._settings)
        try:
            names = jetstream.names()
            yield f"streams: {len(names)}"
            if self.registry is not None:
                self.registry.subjects()
                yield "schema registry"
            if names:
                jetstream.newest(jetstream.stream(names[0]), "", 1)
                yield "sample"
        finally:
            jetstream.close()

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets: streams that are there, and the datasets of the settings whose streams are."""
        prefix = len(self._settings.prefix)
        there = self._js.names()
        said = {name: self._settings.said(name).stream for name in self._settings.streams}
        names = {name for name, stream in said.items() if stream in there}
        names |= {stream[prefix:] for stream in there if stream not in said.values() and stream[prefix:] not in said}
        wanted = [n for n in sorted(names) if patterns is None or any(fnmatchcase(n, p) for p in patterns)]
        return [self.subject(name).described() for name in wanted]

    def subject(self, name: str) -> Subject:
        """A dataset, its fields learnt; raises NotFoundError."""
        if name not in self._subjects:
            settings = self._settings.said(name)
            stream = self._js.stream(settings.stream)
            known = None
            if not settings.fields and settings.envelope == "plain" and settings.format == "json":
                known = written(self._js, settings.stream)
            if known is None:
                declared = bool(settings.fields) and (not settings.changes or bool(settings.key))
                sample = [] if declared else self._js.newest(stream, settings.subject, self._settings.sample)
                keys = [key_of(message) for message in sample]
                known = learn(settings, values(settings, sample), keys, self.registry)
            fields, key = known
            if not fields:
                raise NotFoundError(
                    f"stream {settings.stream!r} has no message from which its fields could be learnt", path=name,
                    hint="declare them: streams: {NAME: {fields: {id: int64, …}, key: [id]}}",
                )  # fmt: skip
            self._subjects[name] = Subject(name, settings, tuple(fields), tuple(key), self.registry)
        return self._subjects[name]

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume: a stream is cut at any sequence."""
        del dataset
        return True

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits: one, with its bounds of now."""
        del wanted
        stream = self._js.stream(self._settings.said(dataset.name).stream)
        return [Split("0", dataset.name, {"made": stream.made, "after": stream.first - 1, "last": stream.last})]

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read. Raises InvalidPlanError for a stream of changes, whose rows are what they add up to."""
        subject = self.subject(read.dataset.name)
        if subject.settings.changes:
            raise InvalidPlanError(
                f"the stream of {read.dataset.name!r} tells changes in the envelope {subject.settings.envelope}",
                path=read.dataset.name, hint="sync it with mode: stream, which keeps the newest state of each key",
            )  # fmt: skip
        jetstream = JetStream(self._settings)
        try:
            yield from self._bounded(read, subject, jetstream)
        finally:
            jetstream.close()

    def _bounded(self, read: Read, subject: Subject, jetstream: JetStream) -> Iterator[Batch]:
        spec = read.split.spec or self.splits(read.dataset, 1)[0].spec
        stream = jetstream.stream(subject.settings.stream)
        if stream.made != spec["made"]:
            raise busy(stream.name, jetstream.where)
        at = int((read.after or {}).get("sequence", spec["after"]))
        last = int((read.until or {}).get("sequence", spec["last"]))
        if stream.first > at + 1 and at < last:
            raise lost(stream, at, jetstream.where)
        held: Batch | None = None
        if at < last:
            reading = jetstream.reading(stream, subject.settings.subject, at)
            for part in reading.until(last, min(read.batch_rows, 5_000)):
                if read.stop.is_set():
                    break
                if part:
                    if held is not None:
                        yield held
                    held = self._batch(subject, read, part, min(reading.at, last))
                at = min(reading.at, last)
            reading.close()
        if held is None and not read.stop.is_set():
            held = self._batch(subject, read, [], at)
        if held is not None:
            if at >= last and (read.until is None or read.until.get("end")):
                held = replace(held, position={"sequence": last, "end": True})
            yield held

    def _batch(self, subject: Subject, read: Read, messages: Sequence[Message], at: int) -> Batch:
        decoded = subject.rows(messages)
        rows = decoded.rows if read.columns is None else decoded.rows.select(list(read.columns))
        position: dict[str, Any] = {"sequence": at}
        return Batch(read.dataset.name, rows, position, bad=decoded.bad)

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        from tongqu.connectors.nats.log import NatsLog

        return NatsLog(self._settings, name, [self.subject(dataset.name) for dataset in datasets])

    def close(self) -> None:
        """See Source.close."""
        if self._registry is not None:
            self._registry.close()
            self._registry = None
        if self._own is not None:
            self._own.close()
            self._own = None


def reached(settings: NatsSettings) -> Generator[str, None, JetStream]:
    """The stages of a check up to JetStream; returns the connection, which the caller closes."""
    way = settings.egress((settings.host, settings.port))
    yield from way.stages(settings.host, settings.port, seconds=settings.connect_seconds)
    jetstream = JetStream(settings)
    try:
        yield f"tls: {jetstream.wire.secured or 'not used'}"
        yield f"login (NATS {jetstream.wire.version})"
        jetstream.ask("INFO")
        yield "jetstream"
    except BaseException:
        jetstream.close()
        raise
    return jetstream
