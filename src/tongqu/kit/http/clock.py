"""Time and chance, so that tests can give their own."""

from __future__ import annotations

import random
import time
import uuid
from threading import Event

from tongqu.core.errors import CancelledError


class Clock:
    """The machine's clock and random numbers."""

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        return time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def random(self) -> float:
        """A number from 0 to below 1."""
        return random.random()  # noqa: S311 - spreads waits, guards nothing

    def unique(self) -> uuid.UUID:
        """A number nobody else has."""
        return uuid.uuid4()

    def wait(self, seconds: float, stop: Event | None = None) -> None:
        """Let time pass; raises CancelledError when stopped meanwhile."""
        if (stop or Event()).wait(max(seconds, 0.0)):
            raise CancelledError("the call was stopped")
