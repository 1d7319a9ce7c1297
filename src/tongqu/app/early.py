"""A SIGTERM that comes before a command can stop in order is kept for it; loads next to nothing."""

from __future__ import annotations

import os
import signal
from typing import Any

STOPPABLE = frozenset({"agent", "mock", "run", "serve", "sync", "worker"})
"""Commands that go on for long and stop in order: they take what was kept (`taken`) once they can."""

_kept: list[int] = []


def keep() -> None:
    """Keep SIGTERM from now on, unless it is ignored or handled already; a second one quits at once."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _later)


def settle(command: str) -> None:
    """The command is loaded: one that cannot stop in order ends by the signal, as it would have without us."""
    if command in STOPPABLE or signal.getsignal(signal.SIGTERM) is not _later:
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if _kept:
        os.kill(os.getpid(), signal.SIGTERM)


def taken() -> bool:
    """Whether a signal was kept; it is forgotten. Call it when handlers of one's own are in place."""
    found = bool(_kept)
    _kept.clear()
    return found


def _later(number: int, frame: Any) -> None:
    del frame
    if _kept:
        os._exit(1)
    _kept.append(number)
