"""What the clients of one connection have in common while several of them live: pace, patience and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from tongqu.kit.http.auth.credentials import Credentials, Send
from tongqu.kit.http.breaker import Breaker
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.identity import whose
from tongqu.kit.http.pace import Pace
from tongqu.kit.http.retry import Budget
from tongqu.kit.http.settings import HttpSettings


@dataclass(eq=False)
class Terms:
    """The limits of a connection hold for all its clients in this process together, and one token serves them all."""

    pace: Pace
    budget: Budget
    breaker: Breaker
    credentials: Credentials


_known: WeakValueDictionary[Any, Terms] = WeakValueDictionary()
_lock = Lock()


def terms(settings: HttpSettings, folder: Path | None, clock: Clock, send: Send) -> Terms:
    """The terms of a connection: those of its clients that live, or new ones, which ask for tokens by `send`."""
    key = (whose(settings), settings.limits, settings.retry, folder, clock)
    with _lock:
        found = _known.get(key)
        if found is None:
            retry = settings.retry
            found = Terms(
                Pace(settings.limits, clock),
                Budget(retry.share),
                Breaker(retry.rest_failures, retry.rest_seconds, clock.monotonic),
                Credentials(settings.auth, send, clock, folder),
            )
            _known[key] = found
        return found
