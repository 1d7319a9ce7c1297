"""Puts messages of several partitions into the order of their time, so that a backlog comes as it was written.

A broker hands a backlog out partition by partition. Windows of event time are over by the newest instant that came, so
rows of a partition that is handed out later would all be late. Kafka Streams chooses its next message in the same way
(https://kafka.apache.org/documentation/streams/core-concepts, "out-of-order").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from time import monotonic
from typing import Any

import numpy as np

from tongqu.connectors.kafka.pieces import Offsets
from tongqu.kit.drivers import driver

Place = tuple[str, int]
"""A topic and a partition."""
_ENDLESS = np.iinfo(np.int64).max
_MOST = 200_000
"""Messages that are held at most before partitions that are ahead are paused."""
_PATIENCE = 100
"""After so many looks in which nothing came, while brokers answer, nobody is waited for: one of them may be gone."""
_REST = 1.0
"""After a question that not every broker answered, so many seconds pass until the next one."""
_GONE = 10
"""A partition of which nobody told so often, while others were told of, has no more than was known last."""


class Merging:
    """Holds what is ahead of partitions that are behind. Within a partition the order is kept."""

    def __init__(self) -> None:
        self._held: list[Any] = []
        self._times = self._places = np.zeros(0, np.int64)
        self._numbers: dict[Place, int] = {}
        self._newest: dict[Place, int] = {}

    def put(self, messages: Sequence[Any]) -> None:
        """Messages that came, each partition's in its order."""
        if not messages:
            return
        count, numbers = len(messages), self._numbers
        named = [(message.topic(), message.partition()) for message in messages]
        for place in set(named):
            numbers.setdefault(place, len(numbers))
        times = np.fromiter([message.timestamp()[1] for message in messages], np.int64, count)
        places = np.fromiter(map(numbers.__getitem__, named), np.int64, count)
        for place, number in numbers.items():
            mine = places == number
            if mine.any():
                times[mine] = np.maximum(np.maximum.accumulate(times[mine]), self._newest.get(place, -1))
                self._newest[place] = int(times[mine][-1])
        times, places = np.concatenate([self._times, times]), np.concatenate([self._places, places])
        order = np.argsort(times, kind="stable")
        held = [*self._held, *messages]
        self._times, self._places, self._held = times[order], places[order], [held[n] for n in order.tolist()]

    def ready(self, behind: Set[Place], most: int) -> list[Any]:
        """Up to so many of those that nothing older can follow, by time: of partitions `behind` more will come, no
        older than their last."""
        bound = min((self._newest.get(place, -1) for place in behind), default=_ENDLESS)
        cut = min(int(np.searchsorted(self._times, bound, side="right")), most)
        found, self._held = self._held[:cut], self._held[cut:]
        self._times, self._places = self._times[cut:], self._places[cut:]
        return found

    def __len__(self) -> int:
        return len(self._held)

    def firsts(self) -> Iterator[tuple[Place, int]]:
        """The first offset that is held, of each partition of which any is."""
        places = list(self._numbers)
        for number, first in zip(*np.unique(self._places, return_index=True), strict=True):
            yield places[number], self._held[first].offset()


class Merger:
    """Merges what a consumer reads, into at most `most` messages at once.

    What is given on was written before everything that was not read yet: `ends` tells where partitions end, and is
    asked after the messages came. What the consumer knows of ends is of when it fetched last, and a process that was
    slow or asleep finds one partition's messages of that time before it hears of another's.
    """

    def __init__(
        self, consumer: Any, ends: Callable[[Sequence[Place]], Mapping[Place, int]], most: int,
        now: Callable[[], float] = monotonic,
    ):  # fmt: skip
        """`ends`: the offsets behind the last messages that can be read, without those that nobody told."""
        self._consumer, self._ask, self._most, self._now = consumer, ends, most, now
        self._merging = Merging()
        self._ends: dict[Place, int] = {}
        self._untold: dict[Place, int] = {}
        self._paused: dict[Place, Any] = {}
        self._heard = True
        self._asked = float("-inf")
        self._waited = 0

    def merged(self, messages: Sequence[Any], came: Offsets) -> list[Any]:
        """What can be given on of these and of what is held, by time. `came`: up to where each partition was read."""
        places = {(topic, partition): offset for topic, parts in came.items() for partition, offset in parts.items()}
        if len(places) < 2 or not (messages or self._merging):
            return list(messages)
        behind = self._behind(places, silent=not messages)
        alone = len({(message.topic(), message.partition()) for message in messages}) < 2
        if alone and not behind and not self._merging:
            return list(messages)
        self._waited = 0 if messages else self._waited + self._heard
        self._merging.put(messages)
        found = self._merging.ready(behind if self._waited < _PATIENCE else frozenset(), self._most)
        self._pause()
        return found

    def behind_them(self, came: Offsets) -> Offsets:
        """The position behind everything that was given on."""
        at = {topic: dict(parts) for topic, parts in came.items()}
        for (topic, partition), offset in self._merging.firsts():
            at[topic][partition] = min(at[topic][partition], offset)
        return at

    def _behind(self, places: Mapping[Place, int], *, silent: bool) -> frozenset[Place]:
        """Partitions that have more than was read of them, or may have: of which nobody tells yet."""
        known = [place for place, offset in places.items() if self._ends.get(place, 0) > offset]
        if len(known) == len(places) and not silent:
            return frozenset(known)
        fresh = {place: self._ends.get(place, 0) for place, times in self._untold.items() if times >= _GONE}
        fresh |= self._fresh([*places])
        return frozenset(place for place, offset in places.items() if fresh.get(place, _ENDLESS) > offset)

    def _fresh(self, places: Sequence[Place]) -> Mapping[Place, int]:
        """Where partitions end now, as far as brokers tell."""
        if self._now() < self._asked + _REST:
            return {}
        fresh = self._ask(places)
        self._heard = bool(fresh)
        if fresh:
            self._untold = {place: self._untold.get(place, 0) + 1 for place in places if place not in fresh}
        self._asked = self._now() if len(fresh) < len(places) else float("-inf")
        self._ends |= fresh
        return fresh

    def _pause(self) -> None:
        """Read no more of partitions of which much is held, until it is not."""
        held = {place for place, _ in self._merging.firsts()}
        if len(self._merging) > _MOST:
            fresh = {place: _spot(place) for place in held if place not in self._paused}
            if fresh:
                self._consumer.pause([*fresh.values()])
                self._paused |= fresh
        for place in [place for place in self._paused if place not in held]:
            self._consumer.resume([self._paused.pop(place)])


def _spot(place: Place) -> Any:
    return driver("confluent_kafka", "kafka").TopicPartition(*place)
