"""Follows one topic of a queue: blocks between commits, and generations that appear at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

import pyarrow as pa

from tongqu.connectors.kafka.cluster import Cluster
from tongqu.connectors.kafka.following import IDLE, TopicsLog, position
from tongqu.connectors.kafka.pieces import offsets
from tongqu.connectors.kafka.queued.blocks import QUEUE, STAGE, Assembling, told
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position
from tongqu.core.errors import LostPositionError, TongquError
from tongqu.core.log import Finding, Follow, Lag
from tongqu.kit.messages.logs import Nothing, heartbeat
from tongqu.kit.queue.shaping import batch_of, covers, dated, own

_MOST = 64
"""Messages taken at once: what is in memory is bounded."""
_HINT = (
    "raise retention.ms of the topic above the longest outage; then have the capture write all rows again (run it with "
    "--restart), and run this pipeline with --restart"
)


@dataclass(frozen=True)
class Kept:
    """What the ledger tells of a topic: the dataset in it, whose id it has, whether it holds changes, and the offset
    from which on it adds up to all rows (None: from its beginning)."""

    dataset: Dataset
    topic: str
    queue: str
    changes: bool
    whole: int | None


class QueuedLog(TopicsLog):
    """One topic of a queue. A position tells the queue's id too: a topic that was made anew is told, not read on."""

    def __init__(self, cluster: Cluster, name: str, kept: Kept, dataset: Dataset):
        super().__init__(cluster, name, [kept.topic])
        self.changes = kept.changes
        self._kept, self._dataset = kept, dataset

    def begin(self) -> Position:
        """See Log.begin. Raises LostPositionError where the topic holds changes and does not add up to a table."""
        low, high = self.bounds
        whole = self._kept.whole
        if whole is not None and low <= whole:
            return self.at(whole)
        if not self.changes:
            return self.at(high if self._cluster.settings.start == "latest" else low)
        if low:
            raise LostPositionError(
                f"topic {self._kept.topic} has lost its first {low} messages, so it does not add up to the table",
                path=self._cluster.where, hint=_HINT,
            )  # fmt: skip
        return self.at(0)

    @property
    def bounds(self) -> tuple[int, int]:
        """The first offset that is kept, and that of the next message."""
        return self._bounds()[self._kept.topic][0]

    def at(self, offset: int) -> Position:
        """The position of an offset."""
        return {**position({self._kept.topic: {0: offset}}), "queue": self._kept.queue}

    def snapshot(self) -> Source | None:
        """See Log.snapshot: before the first change of a topic its table had no rows."""
        return Nothing([self._dataset]) if self.changes else None

    def _lost(self, topic: str, partition: int, offset: int | None = None) -> TongquError:
        del partition
        at = "what was read last" if offset is None else f"offset {offset}"
        return LostPositionError(
            f"topic {topic} does not have {at} any more: its retention was overtaken, messages were deleted, or it was "
            "made anew",
            path=self._cluster.where, hint=_HINT,
        )  # fmt: skip

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        if follow.after.get("queue") != self._kept.queue:
            raise self._lost(self._kept.topic, 0)
        at = offsets(follow.after)
        told_last, reading = monotonic(), _Reading(self, follow)
        with closing(self._cluster.consumer(self.group)) as consumer:
            self._find(consumer, at, self._bounds())
            while not follow.stop.is_set():
                here = at[self._kept.topic][0]
                if follow.until is not None and not reading.inside and self.reached(self.at(here), follow.until):
                    return
                try:
                    fresh = self._take(consumer, _MOST, at)
                except LostPositionError:
                    raise self._lost(self._kept.topic, 0, here) from None
                for message in fresh:
                    if follow.stop.is_set():
                        return
                    yield from reading.opened(message)
                    if follow.until is not None and reading.ended and self.reached(reading.ended, follow.until):
                        return
                if fresh:
                    told_last = monotonic()
                elif monotonic() - told_last > IDLE:
                    told_last = monotonic()
                    idle = self.at(at[self._kept.topic][0])
                    yield heartbeat(self._dataset, idle) if not reading.inside else reading.beat()

    def lag(self, position: Position) -> Lag:
        """See Log.lag: blocks and marks, and since when the first of them is there."""
        behind = self._behind(position)
        if not behind:
            return Lag(rows=0, seconds=0.0)
        at = offsets(position)
        with closing(self._cluster.consumer(self.group)) as consumer:
            self._find(consumer, at, self._bounds())
            first = self._take(consumer, 1, at)
        if not first:  # nothing but the markers of transactions
            return Lag(rows=0, seconds=0.0)
        return Lag(rows=behind, seconds=max(0.0, time() - first[0].timestamp()[1] / 1000))

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        low, high = self.bounds
        whole = self._kept.whole
        whole_still = not self.changes or not low or (whole is not None and low <= whole)
        found = f"{self._kept.topic}: messages {low} to {high}"
        if whole_still:
            return [Finding("kept", "ok", found)]
        fix = "run the capture with --restart, so that new pipelines can begin"
        return [Finding("kept", "warning", found, fix)]


class _Reading:
    """What one reader of a topic has come to. `inside`: a commit has begun and its end has not come; `ended`: the
    position behind the last one that did."""

    def __init__(self, log: QueuedLog, follow: Follow):
        self._log, self._follow = log, follow
        self._schema: pa.Schema = own(log._dataset.schema)
        self._assembling = Assembling()
        self.inside = False
        self.ended: Position | None = None

    def opened(self, message: Any) -> Iterator[Batch]:
        """The batches of one message."""
        names = told(message)
        kind = names.get("tongqu-block")
        if names[QUEUE] != self._log._kept.queue:
            raise self._log._lost(message.topic(), 0, message.offset())
        if kind == "end":
            self.inside = False
            self.ended = self._log.at(message.offset() + 1)
            yield Batch(self._log._dataset.name, self._none(), self.ended, kind="heartbeat")
        elif names.get(STAGE) and kind in ("rows", "piece"):
            return  # it is read when it is published
        elif kind == "publish":
            self.inside = True
            yield from self._published(message)
        elif kind == "truncate":
            self.inside = True
            yield self._emptied()
        else:
            self.inside = True
            yield from self._rows(str(kind), message, self._assembling)

    def _published(self, mark: Any) -> Iterator[Batch]:
        """The rows of a generation, which lie before the mark that shows it."""
        asked = json.loads(mark.value())
        topic, cluster = mark.topic(), self._log._cluster
        if asked["empties"]:
            yield self._emptied()
        assembling = Assembling()
        with closing(cluster.consumer()) as consumer:
            (low, _) = cluster.bounds(consumer, topic, [0])[0]
            if low > asked["since"]:
                raise self._log._lost(topic, 0, asked["since"])
            for part in cluster.whole(consumer, topic, {0: (asked["since"], mark.offset() + 1)}):
                for message in part:
                    names = told(message)
                    if names.get(STAGE) == asked["stage"] and names["tongqu-block"] in ("rows", "piece"):
                        yield from self._rows(names["tongqu-block"], message, assembling)
                if self._follow.stop.is_set():
                    return

    def _rows(self, kind: str, message: Any, assembling: Assembling) -> Iterator[Batch]:
        for rows in assembling.rows(kind, message):
            arriving = own(rows.schema)
            name = self._log._dataset.name
            if not covers(self._schema, arriving):
                self._schema = arriving
                yield Batch(name, self._none(), None, kind="schema")
            found = batch_of(rows, self._schema, control=self._log.changes)
            if self._log.changes:
                found = dated(found, message.timestamp()[1] / 1000)
            for start in range(0, found.num_rows, self._follow.batch_rows):
                yield Batch(name, found.slice(start, self._follow.batch_rows), None, ends_transaction=False)

    def _emptied(self) -> Batch:
        return Batch(self._log._dataset.name, self._none(), None, kind="truncate")

    def beat(self) -> Batch:
        """Nothing came, inside a commit."""
        return Batch(self._log._dataset.name, self._none(), None, kind="heartbeat")

    def _none(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([], schema=self._schema)
