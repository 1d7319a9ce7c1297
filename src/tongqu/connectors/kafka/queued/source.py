"""Reads topics of a queue: followed as logs, messages also once to their end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa

from tongqu.connectors.kafka.cluster import Cluster
from tongqu.connectors.kafka.ledger import KafkaLedger
from tongqu.connectors.kafka.queued.log import Kept, QueuedLog
from tongqu.connectors.kafka.settings import KafkaSettings
from tongqu.connectors.kafka.source import reached
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position, Read, Split
from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.core.log import Follow, Log
from tongqu.kit.originals import schema_of
from tongqu.kit.patterns import nearest, wanted
from tongqu.kit.queue.shaping import batch_of, own


class QueuedSource(Source):
    """Topics by what the ledger beside them tells. They have no order among each other: each has a log of its own."""

    apart = True

    def __init__(self, settings: KafkaSettings):
        self._settings = settings
        self._cluster = Cluster(settings)

    def check(self) -> Iterator[str]:
        """See Source.check."""
        yield from reached(self._cluster)
        yield f"topics: {len(self.kept())}"

    def kept(self) -> dict[str, Kept]:
        """The topics, by dataset."""
        ledger = KafkaLedger(self._cluster)
        if not ledger.there():
            return {}
        ledger.load(quarantine=False)
        there, found = self._cluster.metadata().topics, {}
        for name, spec in sorted(ledger.targets().items()):
            topic = str(self._settings.topic(name).topic)
            if topic in there and "arrow" in spec and spec.get("queue"):
                dataset = Dataset(name, own(schema_of(spec["arrow"])), key=tuple(spec["unique"]))
                found[name] = Kept(dataset, topic, spec["queue"], bool(spec["changes"]), spec.get("whole"))
        return found

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        return [one.dataset for name, one in self.kept().items() if wanted(name, patterns)]

    def _one(self, name: str) -> Kept:
        found = self.kept()
        if name not in found:
            raise NotFoundError(
                f"there is no topic of {name!r} in {self._settings.display()}",
                hint=f"similar names: {nearest(name, list(found))}" if found else "nothing was captured yet",
            )
        return found[name]

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume: messages stay where they are."""
        del dataset
        return True

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """One part, up to the messages of now. Raises InvalidPlanError for a topic of changes, whose rows are what they
        add up to."""
        del wanted
        kept = self._one(dataset.name)
        if kept.changes:
            raise InvalidPlanError(
                f"the topic of {dataset.name!r} tells changes, which are followed", path=dataset.name,
                hint="mode: cdc; to have all rows written again run the capture with --restart",
            )  # fmt: skip
        with closing(QueuedLog(self._cluster, "full", kept, kept.dataset)) as log:
            return [Split("0", dataset.name, {"from": log.begin(), "to": log.head()})]

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        told = read.split.spec
        after: Position = read.after or told["from"]
        until: Position = {**(read.until or told["to"])}
        target = read.dataset.schema
        schema = target if read.columns is None else pa.schema([target.field(name) for name in read.columns])
        with closing(QueuedLog(self._cluster, "full", self._one(read.dataset.name), read.dataset)) as log:
            held: Batch | None = None
            at = after
            asked = Follow(after, until, read.batch_rows, read.stop)
            for batch in log.read(asked) if not log.reached(after, until) else ():
                at = batch.position or at
                if batch.kind == "rows" and batch.rows.num_rows:
                    if held is not None:
                        yield held
                    held = Batch(read.dataset.name, batch_of(batch.rows, schema), None)
                elif held is not None and batch.position is not None:
                    held = Batch(read.dataset.name, held.rows, batch.position)
        if read.stop.is_set():
            return
        none = Batch(read.dataset.name, pa.RecordBatch.from_pylist([], schema=schema), at)
        held = held or none
        yield Batch(read.dataset.name, held.rows, {**at, "end": True})

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        (dataset,) = datasets
        return QueuedLog(self._cluster, name, self._one(dataset.name), dataset)

    # ---- for who looks after the queue

    def overview(self) -> list[dict[str, Any]]:
        """See kit.queue.overview.overview: records are blocks and marks, bytes are not known."""
        groups = self._cluster.groups()
        made = []
        for name, kept in self.kept().items():
            with closing(QueuedLog(self._cluster, "look", kept, kept.dataset)) as log:
                made.append(self._shown(name, kept, log, groups))
        return made

    def _shown(self, name: str, kept: Kept, log: QueuedLog, groups: Sequence[str]) -> dict[str, Any]:
        (low, high) = log.bounds
        readers = []
        for group, after in self._cluster.committed(kept.topic, groups).items():
            lag = log.lag(log.at(min(max(after, low), high)))
            readers.append({
                "name": group, "after": after, "seen_at": None, "behind_records": lag.rows, "behind_bytes": None,
                "behind_seconds": round(lag.seconds or 0.0, 3),
            })  # fmt: skip
        return {
            "name": name, "kind": "changes" if kept.changes else "messages", "key": list(kept.dataset.key),
            "first": low, "last": high, "records": high - low, "bytes": None, "oldest": None, "readers": readers,
        }  # fmt: skip

    def trim(self, name: str, to: int) -> int:
        """Drop the messages of a topic before an offset; how many."""
        kept = self._one(name)
        with closing(QueuedLog(self._cluster, "look", kept, kept.dataset)) as log:
            low, high = log.bounds
        self._cluster.delete_before(kept.topic, {0: min(to, high)})
        return max(min(to, high) - low, 0)

    def forget(self, reader: str) -> int:
        """Forget how far a reader is; in how many topics it was known."""
        known = sum(bool(self._cluster.committed(one.topic, [reader])) for one in self.kept().values())
        self._cluster.forget(reader)
        return known

    def close(self) -> None:
        """See Source.close."""
        self._cluster.close()
