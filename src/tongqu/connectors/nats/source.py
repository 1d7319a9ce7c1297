"""Reads streams: what they hold up to a sequence as rows, and what comes as a log."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tongqu.connectors.nats.jetstream import JetStream, Reading, busy, lost
from tongqu.connectors.nats.settings import NatsSettings
from tongqu.connectors.nats.shapes import written
from tongqu.connectors.nats.subject import Subject, key_of
from tongqu.core.data import Batch, Dataset, Read, Split
from tongqu.kit.messages.reader import learn
from tongqu.kit.messages.source import MessageSource, ended

if TYPE_CHECKING:
    from tongqu.core.log import Log


class NatsSource(MessageSource):
    """Streams as datasets. A full read ends at the sequence that the stream had when the read began."""

    noun = "stream"

    def __init__(self, settings: NatsSettings):
        super().__init__(settings)
        self._subjects: dict[str, Subject] = {}
        self._own: JetStream | None = None

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
            yield from self._registered.check()
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
        return [self.table(name).described() for name in wanted]

    def table(self, name: str) -> Subject:
        """See MessageSource.table."""
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
                known = learn(settings, Subject(name, settings, (), ()).values(sample), keys, self.registry)
            fields, key = known
            if not fields:
                raise self.unlearnt(name, settings.stream)
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
        subject: Subject = self.plain(read.dataset.name)
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
        reading = jetstream.reading(stream, subject.settings.subject, at) if at < last else None
        place = [at]
        yield from ended(
            read, self._parts(read, subject, reading, place, last),
            lambda: self.batch(subject, read, [], {"sequence": at}),
            lambda _: {"sequence": last} if place[0] >= last else None,
        )  # fmt: skip

    def _parts(
        self, read: Read, subject: Subject, reading: Reading | None, place: list[int], last: int
    ) -> Iterator[Batch]:
        """Batches behind a place, which moves with them."""
        if reading is None:
            return
        for part in reading.until(last, min(read.batch_rows, 5_000)):
            if read.stop.is_set():
                break
            place[0] = min(reading.at, last)
            if part:
                yield self.batch(subject, read, part, {"sequence": place[0]})
        reading.close()

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        from tongqu.connectors.nats.log import NatsLog

        return NatsLog(self._settings, name, [self.table(dataset.name) for dataset in datasets])

    def close(self) -> None:
        """See Source.close."""
        super().close()
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
