"""The first SIGINT or SIGTERM asks the run to stop after its current chunk; the second quits at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

from tongqu.app import early
from tongqu.app.cli.call import tell
from tongqu.app.messages import t

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable(stop: Event, said: str = "") -> Iterator[None]:
    """Within this block signals set `stop`; the handlers from before come back after it. `said` is told then instead of
    that the current chunk is awaited."""

    def asked(number: int, frame: FrameType | None) -> None:
        del number, frame
        if stop.is_set():
            os._exit(1)
        stop.set()
        tell(said or t("progress.stopping"))

    before = {number: signal.signal(number, asked) for number in _SIGNALS}
    if early.taken():
        asked(signal.SIGTERM, None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
