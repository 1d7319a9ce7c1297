"""Collects what refers to itself now and then, in a process that lives for months and seldom fills the collector."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable

EVERY_SECONDS = 30.0
SHARE = 0.001
"""Of the time, at most, is spent on it."""


async def tidy(
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    collect: Callable[[], object] = gc.collect,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Collect again and again until cancelled. The trees of SQL and what is compiled of a project are full of cycles;
    by its own thresholds, which are made for short commands, the collector would come after hundreds of megabytes."""
    pause = EVERY_SECONDS
    while True:
        await sleep(pause)
        began = clock()
        collect()
        pause = max(EVERY_SECONDS, (clock() - began) / SHARE)
