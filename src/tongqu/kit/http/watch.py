"""Watches over one attempt of a call: how long it may wait, how slowly an answer may arrive, whether it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from tongqu.core.errors import CancelledError, ConnectError
from tongqu.kit.http.settings import Timeouts

_SLICE = 0.5
_WINDOW = 30.0


class Watch:
    """Counts the time an attempt waits for the peer; time that the reader of a stream takes is not the peer's.

    `sent` says whether anything of the request may have reached the peer.
    """

    def __init__(self, timeouts: Timeouts, seconds: float, stop: Event | None, monotonic: Callable[[], float]):
        self.connect_seconds = timeouts.connect_seconds
        self.sent = False
        self.monotonic = monotonic
        self._left = seconds
        self._idle_seconds = timeouts.read_seconds
        self._floor = timeouts.bytes_per_second
        self._stop = stop
        self._idle = 0.0
        self._window = 0.0
        self._arrived = 0

    def slice(self) -> float:
        """How long to wait at most before the next `waited`; raises when there is nothing left."""
        if self._stop is not None and self._stop.is_set():
            raise CancelledError("the call was stopped")
        if self._left <= 0:
            raise ConnectError("the call took longer than it may", hint="timeouts.call_seconds is the limit")
        if self._idle >= self._idle_seconds:
            raise ConnectError(
                f"nothing arrived for {self._idle_seconds:g} seconds", hint="timeouts.read_seconds is the limit"
            )
        return min(_SLICE, self._left, self._idle_seconds - self._idle)

    def connecting(self) -> float:
        """How long to connect at most."""
        self.slice()
        return min(self.connect_seconds, self._left)

    def spend(self, seconds: float) -> None:
        """So much of its time went by before it could begin."""
        self._left -= seconds

    @property
    def left(self) -> float:
        """How long this attempt may wait at all."""
        return self._left

    def waited(self, seconds: float, arrived: int) -> None:
        """So long was waited, and so many bytes came; raises when an answer only trickles."""
        self._left -= seconds
        self._idle = 0.0 if arrived else self._idle + seconds
        self._window += seconds
        self._arrived += arrived
        if self._window >= _WINDOW:
            slow = self._arrived < self._floor * self._window
            if slow and self._arrived:
                raise ConnectError(
                    f"the answer arrives with less than {self._floor} bytes a second",
                    hint="timeouts.bytes_per_second is the limit",
                )
            self._window, self._arrived = 0.0, 0
