"""Keeps a token until shortly before it expires; of many threads that need a new one, one asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from tongqu.kit.http.clock import Clock

_EARLY_SHARE = 0.1
_EARLY_SECONDS = 300.0


@dataclass(frozen=True)
class Token:
    """A token and how many seconds it is good from when it was asked for."""

    value: str
    seconds: float


class Tokens:
    """The current token of one kind; thread-safe, in memory only. `ask` gets a new one and raises as calls do.

    A token is renewed when a tenth of its time is left, at most five minutes before it ends.
    """

    def __init__(self, ask: Callable[[], Token], clock: Clock):
        self._ask = ask
        self._clock = clock
        self._lock = Lock()
        self._value = ""
        self._until = 0.0

    def current(self) -> str:
        """A token that is good."""
        with self._lock:
            if not self._value or self._clock.monotonic() >= self._until:
                begun = self._clock.monotonic()
                token = self._ask()
                early = min(token.seconds * _EARLY_SHARE, _EARLY_SECONDS)
                self._value, self._until = token.value, begun + token.seconds - early
            return self._value

    def forget(self, value: str) -> None:
        """This token is no longer good; one that replaced it meanwhile stays."""
        with self._lock:
            if self._value == value:
                self._value = ""
