"""Rate limits by GCRA (ITU-T I.371, the token bucket kept as one number per key), exact to the last request.

A key's number is the *theoretical arrival time*. It is an integer in units of nanosecond / requests, so that neither a
period that does not divide evenly nor a long time ever rounds a request away.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

SECOND = 1_000_000_000
"""Nanoseconds."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`requests` in `seconds`, of which `burst` may come at once. `name` stands in the answer's headers."""

    name: str
    requests: int
    seconds: int
    burst: int = 0
    period: int = field(init=False)
    """Nanoseconds of `seconds`: what one request costs, in units of nanosecond / requests."""
    room: int = field(init=False)
    """What `burst` requests cost."""
    place: str = field(init=False)
    """What its keys begin with in a meter."""

    def __post_init__(self) -> None:
        if self.requests < 1 or self.seconds < 1 or self.burst < 0:
            raise ValueError("a rate has at least one request in one second")
        object.__setattr__(self, "burst", self.burst or self.requests)
        object.__setattr__(self, "period", self.seconds * SECOND)
        object.__setattr__(self, "room", self.burst * self.period)
        object.__setattr__(self, "place", f"{self.requests} {self.seconds} {self.burst} {self.name}\0")


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one request at one rate. `left`: requests that could follow at once; `reset`: seconds until all
    of `burst` may come again; `wait`: seconds until the next may come, 0 if it was let through."""

    rate: Rate
    allowed: bool
    left: int
    reset: float
    wait: float


class Counted(NamedTuple):
    """One key of one rate, as `Meter.brief` counts it."""

    place: str
    requests: int
    period: int
    room: int
    name: str

    @classmethod
    def of(cls, rate: Rate, key: str) -> Counted:
        """The key of the rate."""
        return cls(rate.place + key, rate.requests, rate.period, rate.room, f'"{rate.name}";r=')


class Meter:
    """Counts at several rates. Bounded: of more than `most` keys the one that was silent longest is forgotten, which
    only ever gives it back what it had used. For one event loop; `now` is a monotonic clock in nanoseconds."""

    def __init__(self, most: int = 100_000):
        self._most = most
        self._times: MutableMapping[str, int] = {}  # by the place of the rate and the key
        self.forgotten = 0
        """Keys that were forgotten while they still counted."""

    def __len__(self) -> int:
        return len(self._times)

    def take(self, wanted: Sequence[tuple[Rate, str]], now: int, weights: Sequence[int] = ()) -> list[Taken]:
        """Take one request at all of the rates or, if one of them is used up, at none: what is refused is not counted
        anywhere. The result is in the order of `wanted`. `weights` are how many requests it counts for at each rate, at
        most a whole burst."""
        told: list[Taken] = []
        times = self._times
        new: list[tuple[str, int]] = []
        for (rate, key), weight in zip(wanted, weights or repeat(1), strict=False):
            place = rate.place + key
            instant = now * rate.requests
            cost = rate.period if weight == 1 else rate.period * min(weight, rate.burst)
            after = max(times.get(place, 0), instant) + cost
            over = after - instant - rate.room
            if over > 0:
                told.append(_taken(rate, False, after - cost - instant, over))
            else:
                new.append((place, after))
                told.append(_taken(rate, True, after - instant, 0))
        if len(new) == len(told):
            self._keep(new, now)
            return told
        return [
            one if not one.allowed else _taken(rate, True, self._used(rate, key, now), 0)
            for one, (rate, key) in zip(told, wanted, strict=True)
        ]

    def brief(self, wanted: Sequence[Counted], now: int) -> str | None:
        """As `take`, for who is most likely let through: what the header `RateLimit` tells then, None where nothing was
        taken."""
        times = self._times
        new: list[tuple[str, int]] = []
        told: list[str] = []
        for place, requests, period, room, name in wanted:
            instant = now * requests
            before = times.get(place, 0)
            used = period + (before - instant if before > instant else 0)
            if used > room:
                return None
            new.append((place, instant + used))
            told.append(f"{name}{(room - used) // period};t={-(-used // (requests * SECOND))}")
        self._keep(new, now)
        return ", ".join(told)

    def hit(self, rate: Rate, key: str, now: int, keep: int = 0) -> int:
        """Take one request at one rate, leaving `keep` of its burst untouched; 0, or the nanoseconds to wait. The same
        as `take`, for where only that counts."""
        place = rate.place + key
        times = self._times
        instant = now * rate.requests
        before = times.get(place, 0)
        after = (before if before > instant else instant) + rate.period
        over = after - instant - rate.room + keep * rate.period
        if over > 0:
            return -(-over // rate.requests)
        times.pop(place, None)
        times[place] = after
        if len(times) > self._most:
            self._forget(now)
        return 0

    def waits(self, rate: Rate, key: str, now: int) -> int:
        """Nanoseconds until the next request would be let through; takes nothing."""
        over = self._used(rate, key, now) + rate.period - rate.room
        return max(0, -(-over // rate.requests))

    def give_back(self, rate: Rate, key: str) -> None:
        """Undo one `hit` of that key."""
        place = rate.place + key
        if place in self._times:
            self._times[place] -= rate.period

    def _used(self, rate: Rate, key: str, now: int) -> int:
        return max(0, self._times.get(rate.place + key, 0) - now * rate.requests)

    def _keep(self, new: Sequence[tuple[str, int]], now: int) -> None:
        times = self._times
        for place, after in new:
            times.pop(place, None)
            times[place] = after
        if len(times) > self._most:
            self._forget(now)

    def _forget(self, now: int) -> None:
        place = next(iter(self._times))
        if self._times.pop(place) > now * int(place.partition(" ")[0]):
            self.forgotten += 1


def _taken(rate: Rate, allowed: bool, used: int, over: int) -> Taken:
    scale = rate.requests * SECOND
    return Taken(rate, allowed, max(0, rate.room - used) // rate.period, max(0, used) / scale, over / scale)
