"""Follows topics by our own positions: what comes is read in order, whoever else is in the consumer group."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from threading import Event, Lock
from time import monotonic
from typing import Any

from tongqu.connectors.kafka.cluster import Cluster, lost, sifted, taken
from tongqu.connectors.kafka.pieces import Offsets, offsets
from tongqu.connectors.kafka.topic import Topic
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Position
from tongqu.core.lending import Part
from tongqu.core.log import Finding, Follow, Lag, Log
from tongqu.kit.messages.logs import batches, beginning, heartbeat, only_changes

_IDLE, _POLL = 1.0, 0.1


class KafkaLog(Log):
    """The messages of some topics. A position is the next offset of each partition of each topic: `{topics: {orders:
    {"0": 5}}}`. Partitions that are added later are read from their beginning."""

    def __init__(self, cluster: Cluster, name: str, topics: Sequence[Topic]):
        self._cluster = cluster
        self._topics = {topic.name: topic for topic in topics}
        self.changes = only_changes(name, "topic", topics)
        self.group = cluster.settings.group or f"tongqu-{name}"
        self._acknowledging: Any = None
        self._lock = Lock()

    def begin(self) -> Position:
        """See Log.begin: where topics begin or, with `start: latest`, end. Changes are always read from the beginning:
        what they add up to is the table."""
        latest = self._cluster.settings.start == "latest" and not self.changes
        return _position({t: {p: b[latest] for p, b in bounds.items()} for t, bounds in self._bounds().items()})

    def snapshot(self) -> Source | None:
        """See Log.snapshot: nothing has to be read beside the topics of changes."""
        return beginning([*self._topics.values()])

    def head(self) -> Position:
        """See Log.head."""
        return _position({t: {p: high for p, (_, high) in bounds.items()} for t, bounds in self._bounds().items()})

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        ours, wanted = offsets(position), offsets(until)
        return all(
            ours.get(topic, {}).get(p, 0) >= offset for topic, parts in wanted.items() for p, offset in parts.items()
        )

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        at = offsets(follow.after)
        refresh = self._cluster.settings.refresh_seconds
        with closing(self._cluster.consumer(self.group)) as consumer:
            self._find(consumer, at, self._bounds())
            looked = said = monotonic()
            while not follow.stop.is_set():
                if follow.until is not None and self.reached(_position(at), follow.until):
                    return
                fresh = self._take(consumer, follow, at)
                now = monotonic()
                if now - looked > refresh:
                    self._add(consumer, at)
                    looked = now
                if fresh:
                    yield from self._batches(fresh, at)
                    said = monotonic()
                elif now - said > _IDLE:
                    said = now
                    first = next(iter(self._topics.values()))
                    yield heartbeat(first.described(), _position(at))

    def _take(self, consumer: Any, follow: Follow, at: Offsets) -> list[Any]:
        """What has come: waits for one message, and takes the others that are there."""
        with self._cluster.told():
            came = taken(consumer, follow.batch_rows, _POLL)
        fresh, ended = sifted(came, self._cluster.where)
        last: dict[tuple[str, int], int] = {}
        for message in fresh:
            last[(message.topic(), message.partition())] = message.offset() + 1
        for place, offset in (*ended.items(), *last.items()):
            part = at[place[0]]
            part[place[1]] = max(part.get(place[1], 0), offset)
        return fresh

    def _batches(self, messages: Sequence[Any], at: Offsets) -> Iterator[Batch]:
        by_topic: dict[str, list[Any]] = {}
        for message in messages:
            by_topic.setdefault(message.topic(), []).append(message)
        decoded = [(self._topics[topic].dataset, self._topics[topic].rows(some)) for topic, some in by_topic.items()]
        yield from batches(decoded, _position(at))

    # ---- partitions

    def _bounds(self) -> dict[str, dict[int, tuple[int, int]]]:
        with closing(self._cluster.consumer(self.group)) as consumer:
            return {name: self._cluster.bounds(consumer, name, self._cluster.partitions(name)) for name in self._topics}

    def _find(self, consumer: Any, at: Offsets, bounds: Mapping[str, Mapping[int, tuple[int, int]]]) -> None:
        """Go to our places; raises LostPositionError for one that the topic does not have any more."""
        spots = []
        for topic, parts in bounds.items():
            mine = at.setdefault(topic, {})
            for partition in mine:
                if partition not in parts:
                    raise lost(topic, partition, self._cluster.where)
            for partition, (low, high) in parts.items():
                offset = mine.setdefault(partition, low)
                if not low <= offset <= high:
                    raise lost(topic, partition, self._cluster.where, offset)
                spots.append(self._cluster.spot(topic, partition, offset))
        with self._cluster.told():
            consumer.assign(spots)

    def _add(self, consumer: Any, at: Offsets) -> None:
        """Read partitions that have been added, from their beginning."""
        for topic in self._topics:
            new = [p for p in self._cluster.partitions(topic) if p not in at[topic]]
            if not new:
                continue
            with self._cluster.told():
                consumer.list_topics(topic, self._cluster.settings.connect_seconds)  # it knows of none by itself yet
            bounds = self._cluster.bounds(consumer, topic, new)
            at[topic] |= {partition: low for partition, (low, _) in bounds.items()}
            with self._cluster.told():
                consumer.incremental_assign([self._cluster.spot(topic, p, low) for p, (low, _) in bounds.items()])

    def share(
        self, take: Callable[[str], Position | None], give_up: Callable[[str], None], rows: int, stop: Event
    ) -> Generator[Part, None, None]:
        """See Shared.share."""
        from tongqu.connectors.kafka.sharing import Member

        return Member(self._cluster, self._topics, self.group, self).read(take, give_up, rows, stop)

    def together(self, positions: Sequence[Position]) -> Position:
        """See Shared.together."""
        found: dict[str, dict[int, int]] = {}
        for position in positions:
            for topic, parts in offsets(position).items():
                found.setdefault(topic, {}).update(parts)
        return _position(found)

    # ---- for others to see

    def acknowledge(self, position: Position) -> None:
        """See Log.acknowledge: commits the group's offsets, which tell others how far we are; we read by none."""
        spots = [
            self._cluster.spot(t, p, offset) for t, parts in offsets(position).items() for p, offset in parts.items()
        ]
        with self._lock:
            if self._acknowledging is None:
                self._acknowledging = self._cluster.consumer(self.group)
            with self._cluster.told():
                self._acknowledging.commit(offsets=spots, asynchronous=True)

    def lag(self, position: Position) -> Lag:
        """See Log.lag: messages, markers of transactions among them."""
        ours = offsets(position)
        behind = [
            high - max(low, ours.get(topic, {}).get(p, low))
            for topic, parts in self._bounds().items() for p, (low, high) in parts.items()
        ]  # fmt: skip
        return Lag(rows=sum(behind))

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        found = []
        for name, topic in self._topics.items():
            count = len(self._cluster.partitions(name))
            found.append(Finding("topic", "ok", f"{name}: {count} partitions, envelope {topic.settings.envelope}"))
        if self._cluster.settings.isolation == "uncommitted":
            fix = "isolation: committed"
            found.append(Finding("isolation", "warning", "messages of transactions that are given up are seen", fix))
        return found

    def forget(self) -> None:
        """See Log.forget: the group and its offsets are deleted."""
        self.close()
        with self._cluster.told():
            made = self._cluster.admin().delete_consumer_groups([self.group])[self.group]
            if made.exception(self._cluster.settings.write_seconds) is None:
                return

    def close(self) -> None:
        """See Log.close."""
        with self._lock:
            if self._acknowledging is not None:
                self._acknowledging.close()
                self._acknowledging = None


def _position(at: Mapping[str, Mapping[int, int]]) -> Position:
    return {"topics": {t: {str(p): offset for p, offset in sorted(parts.items())} for t, parts in sorted(at.items())}}
