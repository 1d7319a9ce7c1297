"""Keeps calls within what the system allows: how many at a time, how fast, and what it says in its answers."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from threading import Condition, Event

from tongqu.core.errors import CancelledError, RateLimitedError
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.settings import Limits

_EPOCH = 1e9
"""Numbers above are instants, below are seconds from now."""
_SOON = 0.2
_ITEM = re.compile(r"\b(r|t|remaining|reset)\s*=\s*(\d+(?:\.\d+)?)")


class Pace:
    """Lets calls begin, one thread or many; every call that began must `leave`.

    What the system says holds for all threads: a `Retry-After` stops all of them, and `remaining` calls of a period
    are shared out before the period ends.
    """

    def __init__(self, limits: Limits, clock: Clock):
        self._limits = limits
        self._clock = clock
        self._turn = Condition()
        self._running = 0
        self._next = 0.0
        self._blocked = 0.0
        self._remaining: float | None = None
        self._reset = 0.0
        self._begun: deque[float] = deque()

    def enter(self, seconds: float, stop: Event | None = None) -> None:
        """Wait for a turn, at most so many seconds. Raises RateLimitedError when the limit lasts longer."""
        deadline = self._clock.monotonic() + seconds
        while True:
            with self._turn:
                now = self._clock.monotonic()
                ready = self._ready(now)
                if ready <= now and self._running < self._limits.concurrency:
                    self._begin(now)
                    return
                wait = ready - now
                if wait <= 0:
                    self._turn.wait(_SOON)
                    if stop is not None and stop.is_set():
                        raise CancelledError("the call was stopped")
                    if self._clock.monotonic() >= deadline:
                        raise RateLimitedError("no call could begin in time", hint="limits.concurrency is the limit")
                    continue
            if wait > self._limits.patience_seconds or now + wait > deadline:
                raise RateLimitedError(
                    f"the system takes the next call in {wait:.0f} seconds, which is longer than this call may wait",
                    hint="limits.patience_seconds and timeouts.call_seconds are the limits",
                )
            self._clock.wait(wait, stop)

    def leave(self) -> None:
        """A call ended."""
        with self._turn:
            self._running -= 1
            self._turn.notify()

    def learn(self, status: int, headers: Mapping[str, str]) -> float:
        """Take in what an answer says about limits; returns the seconds to wait before the next call, if it says so."""
        after = retry_after(headers, self._clock.now())
        remaining, reset = _quota(headers, self._clock.now())
        now = self._clock.monotonic()
        with self._turn:
            if after and status in (429, 503):
                self._blocked = max(self._blocked, now + after)
            if remaining is not None and reset is not None:
                self._remaining, self._reset = max(remaining - self._running + 1, 0.0), now + reset
            if status == 429 and not after and reset and not remaining:
                self._blocked = max(self._blocked, now + reset)
                return reset
        return after

    def _ready(self, now: float) -> float:
        """The instant from which a call may begin, by all limits but concurrency."""
        ready = max(self._next, self._blocked)
        if self._remaining is not None and now >= self._reset:
            self._remaining = None
        if self._remaining is not None and self._remaining < 1:
            ready = max(ready, self._reset)
        if self._limits.calls:
            while self._begun and self._begun[0] <= now - self._limits.per_seconds:
                self._begun.popleft()
            if len(self._begun) >= self._limits.calls:
                ready = max(ready, self._begun[-self._limits.calls] + self._limits.per_seconds)
        return ready

    def _begin(self, now: float) -> None:
        self._running += 1
        self._next = now + self._limits.interval_seconds
        if self._limits.calls:
            self._begun.append(now)
        if self._remaining is not None:
            self._remaining -= 1


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Seconds that `Retry-After` asks to wait (RFC 9110 §10.2.3: a number or a date); 0 if it asks nothing."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0) if text else 0.0
    except (ValueError, OverflowError):
        return 0.0


def _quota(headers: Mapping[str, str], now: float) -> tuple[float | None, float | None]:
    """Remaining calls and seconds until they are renewed, from `RateLimit` (IETF draft, old and new form),
    `RateLimit-*` or `X-RateLimit-*`; the tightest of several policies counts."""
    policies = [dict(_ITEM.findall(part)) for part in re.split(r",(?=\s*\")", headers.get("ratelimit", "")) if part]
    found = [(p.get("r") or p.get("remaining"), p.get("t") or p.get("reset")) for p in policies]
    for prefix in ("ratelimit", "x-ratelimit", "x-rate-limit"):
        found.append((headers.get(f"{prefix}-remaining"), headers.get(f"{prefix}-reset")))
    known = [(left, again) for r, t in found if (left := _number(r)) is not None and (again := _number(t)) is not None]
    if not known:
        return None, None
    left, again = min(known)
    if again > _EPOCH * 1000:
        again /= 1000
    return left, max(again - now if again > _EPOCH else again, 0.0)


def _number(text: str | None) -> float | None:
    found = re.match(r"\s*(\d+(?:\.\d+)?)\s*(?:[,;]|$)", text or "")
    return float(found[1]) if found else None
