"""Time, ids and stopping for tests: nothing waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event

from tongqu.engine.job import Surroundings


class FakeClock:
    """Time that passes only when somebody waits or `advance` is called."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)):
        self.at = start
        self.waited: list[float] = []
        self.stop = Event()
        self._ids = 0

    def now(self) -> datetime:
        """The instant that it is."""
        return self.at

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.at += timedelta(seconds=seconds)

    def wait(self, seconds: float) -> bool:
        """Pass that time at once; whether stopping was asked for."""
        self.waited.append(seconds)
        self.advance(seconds)
        return self.stop.is_set()

    def new_id(self) -> str:
        """`run 1`, `run 2` and so on."""
        self._ids += 1
        return f"run {self._ids}"

    def surroundings(self) -> Surroundings:
        """What the engine asks for."""
        return Surroundings(self.now, self.new_id, self.stop, self.wait)
