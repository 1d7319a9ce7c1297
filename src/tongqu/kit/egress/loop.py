"""One event loop in a thread of its own, shared by everything that relays bytes in this process."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import time
from collections.abc import Coroutine
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")

_END_SECONDS = 1.0

_lock = Lock()
_loops: dict[int, tuple[asyncio.AbstractEventLoop, Thread]] = {}
"""By process id: a forked child needs a loop of its own."""


def background() -> asyncio.AbstractEventLoop:
    """The loop, started on first use; it ends with the process."""
    with _lock:
        if os.getpid() not in _loops:
            loop = asyncio.new_event_loop()
            thread = Thread(target=loop.run_forever, name="tongqu-relay", daemon=True)
            thread.start()
            _loops.clear()
            _loops[os.getpid()] = loop, thread
            atexit.register(_end)
        return _loops[os.getpid()][0]


def _end() -> None:
    """Cancel what still runs, so that nothing is said about it when the interpreter takes it apart."""
    loop, thread = _loops.pop(os.getpid(), (None, None))
    if loop is None or thread is None:
        return
    with suppress(TimeoutError, concurrent.futures.TimeoutError):
        asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result(_END_SECONDS)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(_END_SECONDS)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def run(work: Coroutine[Any, Any, T], deadline: float) -> T:
    """The result of a coroutine that runs in the background loop; raises TimeoutError at the deadline (in the time of
    `time.monotonic`), after cancelling it. Not to be called from inside the loop."""
    future = asyncio.run_coroutine_threadsafe(work, background())
    try:
        return future.result(max(deadline - time.monotonic(), 0.001))
    except concurrent.futures.TimeoutError:
        future.cancel()
        raise TimeoutError("no answer in time") from None
