"""Collects what refers to itself now and then, in a process that lives for months and seldom fills the collector."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from itertools import count

EVERY_SECONDS = 30.0
SHARE = 0.001
"""Of the time, at most, is spent on it."""
WHOLE = 20
"""Every so many times all is walked; between, what has once survived is left alone, so that no caller waits for it."""


def _young() -> None:
    gc.collect()
    gc.freeze()


def tidy_all() -> None:
    """Collect also among what has survived before: for when much of it has just been replaced."""
    gc.unfreeze()
    _young()


async def tidy(
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    young: Callable[[], object] = _young,
    whole: Callable[[], object] = tidy_all,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Collect again and again until cancelled. The trees of SQL and what is compiled of a project are full of cycles;
    by its own thresholds, which are made for short commands, the collector would come after hundreds of megabytes."""
    pause = EVERY_SECONDS
    for times in count(1):
        await sleep(pause)
        began = clock()
        (young if times % WHOLE else whole)()
        pause = max(EVERY_SECONDS, (clock() - began) / SHARE)
