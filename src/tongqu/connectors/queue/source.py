"""Reads topics of a queue: once to the end, or followed as logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tongqu.connectors.queue.settings import QueueSettings
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position, Read, Split
from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.kit.patterns import nearest, wanted
from tongqu.kit.queue.reading import began
from tongqu.kit.queue.shaping import batch_of
from tongqu.kit.queue.turn import Topic

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.core.log import Log


class QueueSource(Source):
    """Reads one queue; several processes may, while others write it."""

    def __init__(self, settings: QueueSettings):
        self._settings = settings
        self._queue = settings.opened()

    def check(self) -> Iterator[str]:
        """See Source.check."""
        found = self._queue.topics()
        yield "file"
        yield "format"
        for topic in found[:1]:
            after = self._queue.position(self._began(topic))
            next(self._queue.read([topic.name], after, waits=False), None)
        yield "sample"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets: each topic is one, with the schema of its next records."""
        found = [topic for topic in self._queue.topics() if wanted(topic.name, patterns)]
        return [Dataset(topic.name, self._queue.schema(topic), key=topic.key) for topic in found]

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume: records stay where they are, with or without a key."""
        del dataset
        return True

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """One part: the records from the last mark that empties to the last that is there now."""
        del wanted
        topic = self._topic(dataset.name)
        begin = self._began(topic)
        return [Split("0", dataset.name, {"from": self._queue.position(begin), "to": max(begin, topic.last)})]

    def _began(self, topic: Topic) -> int:
        return self._queue.look(lambda db: began(db, topic))

    def _topic(self, name: str) -> Topic:
        found = {topic.name: topic for topic in self._queue.topics()}
        if name not in found:
            raise NotFoundError(
                f"there is no topic {name!r} in {self._settings.display()}",
                hint=f"similar names: {nearest(name, list(found))}" if found else "the queue has no topic yet",
            )
        return found[name]

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read. Of a topic of changes the rows that they come to. Raises LostPositionError if retention
        dropped records that are still to be read."""
        if "from" not in read.split.spec:  # a first load that was killed goes on: nothing was there before the log
            names = list(read.columns) if read.columns is not None else list(read.dataset.columns)
            none = self._empty(read, self._queue.position(0), read.dataset.schema, names)
            yield Batch(none.dataset, none.rows, {"end": True})
            return
        begin, to = read.split.spec["from"], int(read.split.spec["to"])
        after = read.after or begin
        until = int(read.until["after"]) if read.until is not None else to
        columns = list(read.columns) if read.columns is not None else list(read.dataset.columns)
        target = read.dataset.schema
        held: Batch | None = None
        for batch in self._batches(read, after, min(until, to), target, columns):
            if held is not None:
                yield held
            held = batch
        if read.stop.is_set():
            if held is not None:
                yield held
            return
        if held is None:
            held = self._empty(read, after, target, columns)
        if until >= to:
            assert held.position is not None  # noqa: S101  # every batch of a topic has one
            held = Batch(held.dataset, held.rows, {**held.position, "end": True})
        yield held

    def _batches(
        self, read: Read, after: Position, until: int, target: pa.Schema, columns: list[str]
    ) -> Iterator[Batch]:
        import numpy as np
        import pyarrow as pa

        if int(after["after"]) >= until:
            return
        name = read.dataset.name
        end = {**after, "after": until}
        chosen = self._standing(read)
        for records in self._queue.read([name], after, until=end, stop=read.stop, waits=False):
            if records is None or records.kind != "rows":
                continue
            rows, places = records.rows, np.arange(records.first, records.last + 1)
            if chosen is not None:
                kept = np.isin(places, chosen, assume_unique=True)
                rows, places = rows.filter(pa.array(kept)), places[kept]
            for start in range(0, rows.num_rows, read.batch_rows):
                found = batch_of(rows.slice(start, read.batch_rows), target).select(columns)
                last = int(places[start + found.num_rows - 1])
                yield Batch(name, found, {**_mark(after), "after": last})

    def _standing(self, read: Read) -> Any:
        """The records of a topic of changes that make up its rows; None for messages, which all do."""
        from tongqu.connectors.queue.folding import standing

        topic = self._topic(read.dataset.name)
        if not topic.changes:
            return None
        begin = read.split.spec["from"]
        end = {**begin, "after": int(read.split.spec["to"])}
        return standing(topic, self._queue.read([topic.name], begin, until=end, stop=read.stop, waits=False))

    def _empty(self, read: Read, after: Position, target: pa.Schema, columns: list[str]) -> Batch:
        import pyarrow as pa

        rows = pa.RecordBatch.from_pylist([], schema=pa.schema([target.field(name) for name in columns]))
        return Batch(read.dataset.name, rows, _mark(after))

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log: topics of one kind, changes or messages."""
        from tongqu.connectors.queue.log import QueueLog

        kinds = {self._topic(dataset.name).changes for dataset in datasets}
        if len(kinds) > 1:
            raise InvalidPlanError(
                "some of these topics hold changes and others messages, which cannot be followed together",
                hint="give each kind a pipeline of its own",
            )
        return QueueLog(self._queue, name, datasets, changes=kinds == {True}, start=self._settings.start)

    def close(self) -> None:
        """See Source.close."""
        self._queue.close()


def _mark(position: Position) -> Position:
    return {name: position[name] for name in ("queue", "generation", "after")}
