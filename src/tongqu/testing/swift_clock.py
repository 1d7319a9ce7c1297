"""A clock for HTTP clients in tests: waiting takes no time, but time passes."""

from __future__ import annotations

import random
import time
import uuid
from threading import Event, Lock

from tongqu.core.errors import CancelledError
from tongqu.kit.http.clock import Clock


class SwiftClock(Clock):
    """Real time, plus all waits as if they had been waited; `waits` are their lengths. Chance comes from a seed."""

    def __init__(self, seed: int = 1, start: float | None = None):
        self.waits: list[float] = []
        self._ahead = 0.0
        self._start = start
        self._begun = time.monotonic()
        self._chance = random.Random(seed)  # noqa: S311 - chance of a test
        self._lock = Lock()

    def monotonic(self) -> float:
        """See Clock.monotonic."""
        return time.monotonic() + self._ahead

    def now(self) -> float:
        """See Clock.now; runs from `start`, if one was given."""
        if self._start is None:
            return time.time() + self._ahead
        return self._start + time.monotonic() - self._begun + self._ahead

    def random(self) -> float:
        """See Clock.random."""
        with self._lock:
            return self._chance.random()

    def unique(self) -> uuid.UUID:
        """See Clock.unique."""
        with self._lock:
            return uuid.UUID(int=self._chance.getrandbits(128), version=4)

    def wait(self, seconds: float, stop: Event | None = None) -> None:
        """See Clock.wait; returns at once."""
        with self._lock:
            self.waits.append(seconds)
            self._ahead += max(seconds, 0.0)
        if stop is not None and stop.is_set():
            raise CancelledError("the call was stopped")

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._ahead += seconds
