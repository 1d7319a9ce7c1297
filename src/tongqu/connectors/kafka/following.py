"""What logs of topics have in common: places in partitions, how far behind they are, what the group tells others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from threading import Lock
from typing import Any

from tongqu.connectors.kafka.cluster import Cluster, lost, sifted, taken
from tongqu.connectors.kafka.pieces import Offsets, offsets
from tongqu.core.data import Position
from tongqu.core.errors import TongquError
from tongqu.core.log import Lag, Log

IDLE, POLL = 1.0, 0.1


class TopicsLog(Log):
    """A log over topics. A position is the next offset of each partition of each topic: `{topics: {orders: {"0": 5}}}`.
    They are our own, whoever else is in the consumer group."""

    def __init__(self, cluster: Cluster, name: str, topics: Sequence[str]):
        self._cluster = cluster
        self._names = tuple(topics)
        self.group = cluster.settings.group or f"tongqu-{name}"
        self._acknowledging: Any = None
        self._lock = Lock()

    def head(self) -> Position:
        """See Log.head."""
        return position({t: {p: high for p, (_, high) in bounds.items()} for t, bounds in self._bounds().items()})

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        ours, wanted = offsets(position), offsets(until)
        return all(
            ours.get(topic, {}).get(p, 0) >= offset for topic, parts in wanted.items() for p, offset in parts.items()
        )

    def _take(self, consumer: Any, most: int, at: Offsets) -> list[Any]:
        """What has come: waits for one message, and takes the others that are there."""
        with self._cluster.told():
            came = taken(consumer, most, POLL)
        fresh, ended = sifted(came, self._cluster.where)
        last: dict[tuple[str, int], int] = {}
        for message in fresh:
            last[(message.topic(), message.partition())] = message.offset() + 1
        for place, offset in (*ended.items(), *last.items()):
            part = at[place[0]]
            part[place[1]] = max(part.get(place[1], 0), offset)
        return fresh

    def _bounds(self) -> dict[str, dict[int, tuple[int, int]]]:
        with closing(self._cluster.consumer(self.group)) as consumer:
            return {name: self._cluster.bounds(consumer, name, self._cluster.partitions(name)) for name in self._names}

    def _find(self, consumer: Any, at: Offsets, bounds: Mapping[str, Mapping[int, tuple[int, int]]]) -> None:
        """Go to our places; raises LostPositionError for one that the topic does not have any more."""
        spots = []
        for topic, parts in bounds.items():
            mine = at.setdefault(topic, {})
            for partition in mine:
                if partition not in parts:
                    raise self._lost(topic, partition)
            for partition, (low, high) in parts.items():
                offset = mine.setdefault(partition, low)
                if not low <= offset <= high:
                    raise self._lost(topic, partition, offset)
                spots.append(self._cluster.spot(topic, partition, offset))
        with self._cluster.told():
            consumer.assign(spots)

    def _lost(self, topic: str, partition: int, offset: int | None = None) -> TongquError:
        """The error for a position that the topic does not have any more."""
        return lost(topic, partition, self._cluster.where, offset)

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
        return Lag(rows=self._behind(position))

    def _behind(self, position: Position) -> int:
        ours = offsets(position)
        behind = [
            high - max(low, ours.get(topic, {}).get(p, low))
            for topic, parts in self._bounds().items() for p, (low, high) in parts.items()
        ]  # fmt: skip
        return sum(behind)

    def forget(self) -> None:
        """See Log.forget: the group and its offsets are deleted."""
        self.close()
        self._cluster.forget(self.group)

    def close(self) -> None:
        """See Log.close."""
        with self._lock:
            if self._acknowledging is not None:
                self._acknowledging.close()
                self._acknowledging = None


def position(at: Mapping[str, Mapping[int, int]]) -> Position:
    """The position of these offsets."""
    return {"topics": {t: {str(p): offset for p, offset in sorted(parts.items())} for t, parts in sorted(at.items())}}
