"""Partitions of topics shared among the members of a consumer group: each is read by one, from our own position."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any

from tongqu.connectors.kafka.cluster import Cluster, lost, sifted, taken
from tongqu.connectors.kafka.pieces import offsets
from tongqu.connectors.kafka.topic import Topic
from tongqu.core.data import Position
from tongqu.core.lending import Part
from tongqu.kit.messages.logs import batches

if TYPE_CHECKING:
    from tongqu.core.log import Log

_POLL = 0.1
_IDLE = 1.0
_SESSION_MS = 10_000


class Member:
    """One member of a group. Where a partition is taken up, and that it is given up, is told in the thread that reads.

    The partitions are assigned as whole sets (`range`): every member lets go of all before any is read by another one.
    """

    def __init__(self, cluster: Cluster, topics: Mapping[str, Topic], group: str, log: Log):
        self._cluster, self._topics, self._group, self._log = cluster, topics, group, log
        self._at: dict[tuple[str, int], int] = {}
        self._failed: list[BaseException] = []

    def read(
        self, take: Callable[[str], Position | None], give_up: Callable[[str], None], rows: int, stop: Event
    ) -> Generator[Part, None, None]:
        """See Shared.share."""
        consumer = self._cluster.consumer(
            self._group,
            **{"partition.assignment.strategy": "range", "session.timeout.ms": _SESSION_MS,
               "heartbeat.interval.ms": 1_000, "max.poll.interval.ms": 300_000},
        )  # fmt: skip
        try:
            with self._cluster.told():
                consumer.subscribe(
                    list(self._topics),
                    on_assign=lambda who, spots: self._assigned(who, spots, take),
                    on_revoke=lambda who, spots: self._revoked(spots, give_up),
                    on_lost=lambda who, spots: self._revoked(spots, give_up),
                )
            said = monotonic()
            while not stop.is_set():
                with self._cluster.told():
                    came = taken(consumer, rows, _POLL)
                if self._failed:
                    raise self._failed[0]
                fresh, _ = sifted(came, self._cluster.where)
                yield from self._parts(fresh)
                if monotonic() - said > _IDLE:
                    said = monotonic()
                    yield Part("", None, self._behind(consumer))
        finally:
            with suppress(Exception):  # the group hears of it by itself soon
                consumer.close()
            for place in [*self._at]:
                give_up(_name(*place))
            self._at.clear()

    def _parts(self, messages: Sequence[Any]) -> Iterator[Part]:
        """A part for each partition that something came from. What was fetched before it was given up is dropped."""
        found: dict[tuple[str, int], list[Any]] = {}
        for message in messages:
            found.setdefault((message.topic(), message.partition()), []).append(message)
        for (topic, partition), some in found.items():
            place = (topic, partition)
            mine = [message for message in some if place in self._at and message.offset() >= self._at[place]]
            if not mine:
                continue
            self._at[place] = mine[-1].offset() + 1
            position = {"topics": {topic: {str(partition): self._at[place]}}}
            made = self._topics[topic]
            for batch in batches([(made.dataset, made.rows(mine))], position):
                yield Part(_name(*place), batch)

    def _assigned(self, consumer: Any, spots: Sequence[Any], take: Callable[[str], Position | None]) -> None:
        try:
            bounds: dict[str, dict[int, tuple[int, int]]] = {}
            for topic in {spot.topic for spot in spots}:
                parts = [spot.partition for spot in spots if spot.topic == topic]
                bounds[topic] = self._cluster.bounds(consumer, topic, parts)
            found = []
            for spot in spots:
                low, high = bounds[spot.topic][spot.partition]
                stored = offsets(take(_name(spot.topic, spot.partition)) or {})
                first = offsets(self._log.begin()) if not stored else {}
                offset = stored.get(spot.topic, {}).get(
                    spot.partition, first.get(spot.topic, {}).get(spot.partition, low)
                )
                if not low <= offset <= high:
                    raise lost(spot.topic, spot.partition, self._cluster.where, offset)
                self._at[(spot.topic, spot.partition)] = offset
                found.append(self._cluster.spot(spot.topic, spot.partition, offset))
            consumer.assign(found)
        except BaseException as error:  # noqa: BLE001  # the driver would only print it; the reading thread raises it
            self._failed.append(error)

    def _revoked(self, spots: Sequence[Any], give_up: Callable[[str], None]) -> None:
        for spot in spots:
            if self._at.pop((spot.topic, spot.partition), None) is not None:
                give_up(_name(spot.topic, spot.partition))

    def _behind(self, consumer: Any) -> int:
        """Messages of our partitions that were not read."""
        behind = 0
        for (topic, partition), offset in self._at.items():
            _, high = consumer.get_watermark_offsets(self._cluster.spot(topic, partition, 0), cached=True)
            behind += max(high - offset, 0)
        return behind


def _name(topic: str, partition: int) -> str:
    return f"{topic}/{partition}"
