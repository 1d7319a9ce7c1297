"""Leaves a system alone for a while after it failed many times in a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from tongqu.core.errors import RestingError


@dataclass
class _State:
    failures: int = 0
    until: float = 0.0
    trying: bool = False


class Breaker:
    """Counts failures by place; thread-safe. After a rest a single call tries: if it succeeds all may call again."""

    def __init__(self, failures: int, rest_seconds: float, monotonic: Callable[[], float]):
        self._limit = failures
        self._rest = rest_seconds
        self._monotonic = monotonic
        self._states: dict[object, _State] = {}
        self._lock = Lock()

    def admit(self, place: object) -> None:
        """Raise RestingError while the place rests."""
        with self._lock:
            state = self._states.get(place)
            if state is None or not self._limit or state.failures < self._limit:
                return
            left = state.until - self._monotonic()
            if left > 0 or state.trying:
                raise RestingError(
                    f"the system failed {state.failures} times one after the other and is left alone",
                    hint=f"it is tried again in {max(left, 1.0):.0f} seconds",
                )
            state.trying = True

    def succeeded(self, place: object) -> None:
        """The place answered."""
        with self._lock:
            self._states.pop(place, None)

    def failed(self, place: object) -> None:
        """The place could not be reached or failed."""
        with self._lock:
            state = self._states.setdefault(place, _State())
            state.failures += 1
            state.trying = False
            if state.failures >= self._limit:
                state.until = self._monotonic() + self._rest

    def left(self, place: object) -> None:
        """A call ended without saying anything about the place."""
        with self._lock:
            if place in self._states:
                self._states[place].trying = False
