"""Receives a topic as long as somebody reads it: connects, keeps what comes, and connects again after failures."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event, Thread
from typing import Protocol

from tongqu.core.errors import CancelledError, TongquError
from tongqu.kit.push.spool import Keeping, Message, Spool

_CLAIM_SECONDS = 0.5
_STOP_SECONDS = 5.0
_SHORTEST = 0.1
"""Waits at least so many seconds, also where the other side says `retry: 0`."""

logger = logging.getLogger("tongqu.push")


class Feed(Protocol):
    """One stream of a system."""

    wait: float | None
    """How long the other side wants us to wait before we connect again; None: it says nothing."""

    def messages(self, resume: str, stop: Event) -> Iterator[Message]:
        """What comes over one connection after the message with the id `resume`, until it breaks: raises ConnectError,
        also where the other side ended it, and CancelledError within a second of `stop`. What is not retryable is told
        to the reader: AuthError, PrivilegeError, NotFoundError, AnswerError."""
        ...


@dataclass(frozen=True)
class Patience:
    """How long to wait before connecting again."""

    first: float
    longest: float

    def after(self, failures: int, asked: float | None, chance: float) -> float:
        """The wait after so many failures in a row."""
        first = self.first if asked is None else max(asked, _SHORTEST)
        whole = min(self.longest, first * float(2 ** min(failures - 1, 30)))
        return whole * (0.5 + chance / 2)


class Receiver:
    """A thread that receives one topic; while another process does, it waits for its turn."""

    def __init__(
        self, spool: Spool, topic: str, feed: Feed, patience: Patience, chance: Callable[[], float] = random.random
    ):
        self._spool, self._topic, self._feed = spool, topic, feed
        self._patience, self._chance = patience, chance
        self._stop = Event()
        self._failed: Exception | None = None
        self._thread = Thread(target=self._run, name=f"tongqu-receive-{topic}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def check(self) -> None:
        """Raises what makes it useless to connect again."""
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """Stop; what came is on disk then."""
        self._stop.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        place: int | None = None
        try:
            while place is None:
                place = self._spool.claim(self._topic)
                if place is None and self._stop.wait(_CLAIM_SECONDS):
                    return
            self._receive()
        except Exception as error:  # noqa: BLE001  # whatever it is, the reader is told, who would wait for ever
            self._failed = error
        finally:
            if place is not None:
                os.close(place)

    def _receive(self) -> None:
        failures = 0
        while not self._stop.is_set():
            keeping = Keeping(self._spool, self._topic)
            try:
                for message in self._feed.messages(self._spool.resume(self._topic), self._stop):
                    keeping.add(message)
                    failures = 0
            except CancelledError:
                return
            except TongquError as error:
                if not error.retryable:
                    raise
                failures += 1
                wait = self._patience.after(failures, self._feed.wait, self._chance())
                logger.warning("%s: %s; connecting again in %.1f s", self._topic, error.message, wait)
                keeping.settle()
                self._stop.wait(wait)
            finally:
                keeping.settle()
