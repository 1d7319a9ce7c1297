"""Rate limits by GCRA (ITU-T I.371, the token bucket kept as one number per key), exact to the last request.

A key's number is the *theoretical arrival time*. It is an integer in units of nanosecond / requests, so that neither a
period that does not divide evenly nor a long time ever rounds a request away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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

    def __post_init__(self) -> None:
        if self.requests < 1 or self.seconds < 1 or self.burst < 0:
            raise ValueError("a rate has at least one request in one second")
        object.__setattr__(self, "burst", self.burst or self.requests)
        object.__setattr__(self, "period", self.seconds * SECOND)
        object.__setattr__(self, "room", self.burst * self.period)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one request at one rate. `left`: requests that could follow at once; `reset`: seconds until all
    of `burst` may come again; `wait`: seconds until the next may come, 0 if it was let through."""

    rate: Rate
    allowed: bool
    left: int
    reset: float
    wait: float


class Meter:
    """Counts at several rates. Bounded: of more than `most` keys the one that was silent longest is forgotten, which
    only ever gives it back what it had used. For one event loop; `now` is a monotonic clock in nanoseconds."""

    def __init__(self, most: int = 100_000):
        self._most = most
        self._times: dict[tuple[Rate, str], int] = {}
        self.forgotten = 0
        """Keys that were forgotten while they still counted."""

    def __len__(self) -> int:
        return len(self._times)

    def take(self, wanted: Sequence[tuple[Rate, str]], now: int) -> list[Taken]:
        """Take one request at all of the rates or, if one of them is used up, at none: what is refused is not counted
        anywhere. The result is in the order of `wanted`."""
        told: list[Taken] = []
        times = self._times
        new: list[tuple[tuple[Rate, str], int]] = []
        for pair in wanted:
            rate = pair[0]
            instant = now * rate.requests
            after = max(times.get(pair, 0), instant) + rate.period
            over = after - instant - rate.room
            if over > 0:
                told.append(_taken(rate, False, after - rate.period - instant, over))
            else:
                new.append((pair, after))
                told.append(_taken(rate, True, after - instant, 0))
        if len(new) == len(told):
            for pair, after in new:
                times.pop(pair, None)
                times[pair] = after
            if len(times) > self._most:
                self._forget(now)
            return told
        return [
            one if not one.allowed else _taken(one.rate, True, self._used(pair, now), 0)
            for one, pair in zip(told, wanted, strict=True)
        ]

    def hit(self, rate: Rate, key: str, now: int, keep: int = 0) -> int:
        """Take one request at one rate, leaving `keep` of its burst untouched; 0, or the nanoseconds to wait. The same
        as `take`, for where only that counts."""
        pair = (rate, key)
        times = self._times
        instant = now * rate.requests
        after = max(times.get(pair, 0), instant) + rate.period
        over = after - instant - rate.room + keep * rate.period
        if over > 0:
            return -(-over // rate.requests)
        times.pop(pair, None)
        times[pair] = after
        if len(times) > self._most:
            self._forget(now)
        return 0

    def waits(self, rate: Rate, key: str, now: int) -> int:
        """Nanoseconds until the next request would be let through; takes nothing."""
        over = self._used((rate, key), now) + rate.period - rate.room
        return max(0, -(-over // rate.requests))

    def give_back(self, rate: Rate, key: str) -> None:
        """Undo one `hit` of that key."""
        pair = (rate, key)
        if pair in self._times:
            self._times[pair] -= rate.period

    def _used(self, pair: tuple[Rate, str], now: int) -> int:
        return max(0, self._times.get(pair, 0) - now * pair[0].requests)

    def _forget(self, now: int) -> None:
        pair = next(iter(self._times))
        if self._times.pop(pair) > now * pair[0].requests:
            self.forgotten += 1


def _taken(rate: Rate, allowed: bool, used: int, over: int) -> Taken:
    scale = rate.requests * SECOND
    return Taken(rate, allowed, max(0, rate.room - used) // rate.period, max(0, used) / scale, over / scale)
