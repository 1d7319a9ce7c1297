"""Follows topics of a queue as a log, under a name for which the queue keeps what was not read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position, Read
from tongqu.core.errors import LostPositionError
from tongqu.core.log import Finding, Follow, Lag, Log
from tongqu.kit.queue import positions
from tongqu.kit.queue.queue import Queue
from tongqu.kit.queue.reading import Records, topics
from tongqu.kit.queue.shaping import batch_of, covers, dated, own
from tongqu.kit.queue.turn import Turn

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.kit.sqlite import SqliteDb


class Nothing(Source):
    """What topics of changes held before their first record: no rows."""

    def __init__(self, position: Position):
        self._position = position

    def check(self) -> Iterator[str]:
        """See Source.check."""
        yield "sample"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        del patterns
        return []

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume."""
        del dataset
        return True

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        import pyarrow as pa

        names = read.columns or read.dataset.columns
        schema = pa.schema([read.dataset.schema.field(name) for name in names])
        rows = pa.RecordBatch.from_pylist([], schema=schema)
        yield Batch(read.dataset.name, rows, {**self._position, "end": True})


class QueueLog(Log):
    """Some topics of a queue. Any number of logs of other names read them too, each at its own pace."""

    def __init__(self, queue: Queue, name: str, datasets: Sequence[Dataset], *, changes: bool, start: str):
        self.changes = changes
        self._queue, self._name, self._start = queue, name, start
        self._datasets = {dataset.name: dataset for dataset in datasets}
        self._whole: Position | None = None
        """Where the topics begin, if that is where we begin."""
        self._mark: Position = {}

    def begin(self) -> Position:
        """See Log.begin. Raises LostPositionError where the topics hold changes and their first ones were dropped."""

        def work(turn: Turn) -> Position:
            stands = [self._stand(turn.db, name) for name in self._datasets]
            known = [after for after in stands if after is not None]
            if known and len(known) == len(stands):
                return positions.position(turn.db, min(known))
            after = self._from(turn)
            for name in self._datasets:
                turn.register(name, self._name, after)
            return positions.position(turn.db, min([after, *known]))

        position = self._queue.do(work).result()
        self._whole = position if self.changes and position["after"] == 0 else None
        return position

    def _from(self, turn: Turn) -> int:
        if self._start == "newest":
            return turn.last
        trimmed = max((turn.need(name).trimmed for name in self._datasets), default=0)
        if trimmed and self._start == "whole" and self.changes:
            raise LostPositionError(
                f"the first changes of {', '.join(self._datasets)} were dropped by retention (up to record {trimmed}), "
                "so the tables cannot be made of the rest",
                hint="have the capture write all rows again (run its sync with --restart), which empties the topic; or "
                "set start: oldest to begin with what is there",
            )
        return trimmed

    def _stand(self, db: SqliteDb, topic: str) -> int | None:
        found = db.rows(
            "SELECT reader.after FROM reader JOIN topic ON topic.id = reader.topic WHERE topic.name = ? "
            "AND reader.name = ?", (topic, self._name),
        )  # fmt: skip
        return int(found[0][0]) if found else None

    def snapshot(self) -> Source | None:
        """See Log.snapshot: before the first change of a topic its table had no rows."""
        return None if self._whole is None else Nothing(self._whole)

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        schemas = {name: own(dataset.schema) for name, dataset in self._datasets.items()}
        after = self._asked(follow.after)
        reading = self._queue.read(list(self._datasets), after, until=follow.until, stop=follow.stop)
        for records in reading:
            if records is None:
                yield self._beat()
                continue
            yield from self._batches(records, schemas, follow)

    def _asked(self, after: Position) -> Position:
        """The position; or the one from which somebody wants this reader to read again, in a round of its own."""
        self._queue.place(after)
        round, again = self._queue.look(self._wanted)
        self._mark = {**self._queue.position(0), **({"round": round} if round else {})}
        return after if _order(after)[0] >= round else {**self._mark, "after": min(again, int(after["after"]))}

    def _wanted(self, db: SqliteDb) -> tuple[int, int]:
        """The round in which to read, and after which record it begins."""
        marks = ", ".join("?" * len(self._datasets))
        found = db.rows(
            "SELECT reader.round, reader.again FROM reader JOIN topic ON topic.id = reader.topic "
            f"WHERE reader.name = ? AND topic.name IN ({marks}) ORDER BY reader.round DESC LIMIT 1",
            (self._name, *self._datasets),
        )
        return (int(found[0][0]), int(found[0][1])) if found else (0, 0)

    def _beat(self) -> Batch:
        import pyarrow as pa

        name = next(iter(self._datasets))
        rows = pa.RecordBatch.from_pylist([], schema=own(self._datasets[name].schema))
        return Batch(name, rows, None, kind="heartbeat")

    def _batches(self, records: Records, schemas: dict[str, pa.Schema], follow: Follow) -> Iterator[Batch]:
        import pyarrow as pa

        name, mark = records.topic, self._mark
        arriving = own(records.rows.schema)
        if not covers(schemas[name], arriving):
            schemas[name] = arriving
            yield Batch(name, pa.RecordBatch.from_pylist([], schema=arriving), None, kind="schema")
        schema = schemas[name]
        if records.kind == "truncate":
            rows = pa.RecordBatch.from_pylist([], schema=schema)
            position = {**mark, "after": records.last} if records.ends else None
            yield Batch(name, rows, position, kind="truncate", ends_transaction=records.ends)
            return
        found = batch_of(records.rows, schema, control=self.changes)
        if self.changes:
            found = dated(found, records.at)
        for start in range(0, found.num_rows, follow.batch_rows):
            last = start + follow.batch_rows >= found.num_rows and records.ends
            position = {**mark, "after": records.last} if last else None
            yield Batch(name, found.slice(start, follow.batch_rows), position, ends_transaction=last)

    def head(self) -> Position:
        """See Log.head."""

        def ask(db: SqliteDb) -> Position:
            last = max((topic.last for topic in topics(db) if topic.name in self._datasets), default=0)
            round, _ = self._wanted(db)
            return {**positions.position(db, last), **({"round": round} if round else {})}

        return self._queue.look(ask)

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached. What is read again is behind all that was read before."""
        return _order(position) >= _order(until)

    def acknowledge(self, position: Position) -> None:
        """See Log.acknowledge: what all readers have may be dropped when its time has come. Waits for no disk."""
        round, after = _order(position)
        self._queue.do(lambda turn: turn.confirm(self._name, list(self._datasets), after, round=round))

    def lag(self, position: Position) -> Lag:
        """See Log.lag."""
        after = int(position["after"])

        def ask(db: SqliteDb) -> Lag:
            ids = ", ".join(str(topic.id) for topic in topics(db) if topic.name in self._datasets) or "0"
            rows, size, oldest = db.rows(
                "SELECT coalesce(sum(last - max(first - 1, ?)), 0), coalesce(sum(bytes), 0), min(at) FROM entry "
                f"WHERE topic IN ({ids}) AND last > ?",
                (after, after),
            )[0]
            seconds = 0.0 if oldest is None else max(0.0, time.time() - oldest)
            return Lag(bytes=int(size), rows=int(rows), seconds=seconds)

        return self._queue.look(ask)

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        return [*self._gone(), *self._cuts()]

    def _gone(self) -> list[Finding]:
        found = []
        for topic in self._queue.topics():
            if topic.name in self._datasets:
                state: Any = "warning" if topic.trimmed and self.changes else "ok"
                what = f"{topic.name}: records {topic.trimmed + 1} to {topic.last}"
                fix = "run the capture's sync with --restart, so that new pipelines can begin" if state != "ok" else ""
                found.append(Finding("kept", state, what, fix))
        return found

    def _cuts(self) -> list[Finding]:
        fix = "load what is missing from its source again; check the disk"
        return [
            Finding(
                "cut", "warning", f"{cut['bytes']} bytes after record {cut['after']} were damaged and are gone", fix
            )
            for cut in self._queue.cuts()
        ]

    def forget(self) -> None:
        """See Log.forget."""
        self._queue.do(lambda turn: turn.forget(self._name, list(self._datasets))).result()

    def close(self) -> None:
        """See Log.close."""
        self._queue.close()


def _order(position: Position) -> tuple[int, int]:
    return int(position.get("round", 0)), int(position["after"])
