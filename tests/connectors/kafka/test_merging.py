"""Messages of several partitions by their time: nobody is overtaken by what was only read sooner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.connectors.kafka.merging import Merger, Place

NORTH, SOUTH = ("orders", 0), ("orders", 1)


@dataclass
class Message:
    """A message that was written at `at`."""

    place: Place
    number: int
    at: int

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.number

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at


@dataclass
class Brokers:
    """Where partitions end; those that are not in it do not answer. It is a consumer that is never paused, too, and a
    clock: a look takes a tenth of a second."""

    ends: dict[Place, int]
    asked: int = 0
    now: float = 0.0
    came: dict[str, dict[int, int]] = field(default_factory=lambda: {"orders": {0: 0, 1: 0}})

    def tell(self, places: Sequence[Place]) -> Mapping[Place, int]:
        self.asked += 1
        return {place: self.ends[place] for place in places if place in self.ends}

    def take(self, merger: Merger, *messages: Message) -> list[tuple[Place, int]]:
        """One look, in which these came."""
        self.now += 0.1
        for one in messages:
            self.came["orders"][one.partition()] = one.offset() + 1
        return [((one.topic(), one.partition()), one.offset()) for one in merger.merged(messages, self.came)]


def merging(ends: dict[Place, int]) -> tuple[Brokers, Merger]:
    brokers = Brokers(ends)
    consumer: Any = brokers
    return brokers, Merger(consumer, brokers.tell, 100, lambda: brokers.now)


def soon(brokers: Brokers, merger: Merger, message: Message) -> list[tuple[Place, int]]:
    """What is given on in this look and those in which brokers are not asked again."""
    found = brokers.take(merger, message)
    for _ in range(11):
        found += brokers.take(merger)
    return found


def test_a_partition_that_was_read_to_its_end_is_asked_again() -> None:
    brokers, merger = merging({NORTH: 1, SOUTH: 0})
    assert brokers.take(merger, Message(NORTH, 0, 10)) == [(NORTH, 0)]
    brokers.ends |= {NORTH: 2, SOUTH: 1}
    assert brokers.take(merger, Message(NORTH, 1, 9_000)) == []
    assert merger.behind_them(brokers.came) == {"orders": {0: 1, 1: 0}}
    assert brokers.take(merger, Message(SOUTH, 0, 20)) == [(SOUTH, 0), (NORTH, 1)]


def test_nobody_is_asked_while_all_are_known_to_be_behind() -> None:
    brokers, merger = merging({NORTH: 50, SOUTH: 50})
    for number in range(10):
        brokers.take(merger, Message(NORTH, number, number), Message(SOUTH, number, number))
    assert brokers.asked == 1


def test_a_partition_whose_broker_is_gone_is_waited_for_only_for_a_while() -> None:
    brokers, merger = merging({NORTH: 1000})
    given = [brokers.take(merger, Message(NORTH, number, number)) for number in range(1000)]
    first = next(number for number, found in enumerate(given) if found)
    assert 90 < first < 120  # whether messages come meanwhile or not
    assert [offset for found in given for _, offset in found][:200] == [*range(200)]
    brokers.ends[SOUTH] = 1
    assert soon(brokers, merger, Message(SOUTH, 0, 2000))[-1] == (SOUTH, 0)
    assert merger.behind_them(brokers.came) == {"orders": {0: 1000, 1: 1}}


def test_while_no_broker_answers_nothing_is_given_on() -> None:
    brokers, merger = merging({})
    assert brokers.take(merger, Message(NORTH, 0, 10)) == []
    assert not any(brokers.take(merger) for _ in range(1000))
    brokers.ends |= {NORTH: 1, SOUTH: 1}
    assert soon(brokers, merger, Message(SOUTH, 0, 5)) == [(SOUTH, 0), (NORTH, 0)]
