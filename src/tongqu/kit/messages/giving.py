"""What logs of brokers that hand messages out have in common: the connection stays after its reader has ended, so that
what becomes durable then is acknowledged still; what is not acknowledged is handed out again."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from threading import Lock

from tongqu.core.data import Batch, Position
from tongqu.core.errors import ConnectError
from tongqu.core.log import Follow, Log


class GivingLog(Log):
    """A log whose messages are acknowledged over the connection that they came by."""

    def __init__(self) -> None:
        self._session = secrets.token_hex(8)
        """Which reader it is, in positions: counts of another one mean nothing to it."""
        self._durable: Position = {}
        self._reading = False
        self._lock = Lock()
        """Held while the connection is used."""

    @abstractmethod
    def _enter(self) -> None:
        """Connect."""

    @abstractmethod
    def _follow(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read, over the connection."""

    @abstractmethod
    def _settle(self) -> None:
        """Acknowledge, or refuse, what has become durable. Raises ConnectError: the broker will hand it out again."""

    @abstractmethod
    def _leave(self) -> None:
        """Release the connection, if there is one."""

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        with self._lock:
            self._leave()
            self._enter()
            self._reading = True
        try:
            yield from self._follow(follow)
        except ConnectError:
            with self._lock:
                self._leave()
            raise
        finally:
            self._reading = False

    def acknowledge(self, position: Position) -> None:
        """See Log.acknowledge. While a reader is at work it sends the acknowledgements, within a moment."""
        self._durable = position
        if not self._reading:
            with self._lock:
                self._settle()

    def close(self) -> None:
        """See Log.close: what is durable is acknowledged first."""
        with self._lock:
            with suppress(ConnectError):  # what is not acknowledged is handed out again
                self._settle()
            self._leave()
