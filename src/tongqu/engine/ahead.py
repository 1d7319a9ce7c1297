"""Reads a source's batches in a thread of their own, so that reading and writing overlap."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

from tongqu.core.data import Batch
from tongqu.core.errors import ReadError
from tongqu.kit.faults import crash_point

_STOP_SECONDS = 5.0
_PATIENCE = 0.5


def ahead(batches: Iterator[Batch], stop: Event | None = None, depth: int = 2) -> Generator[Batch, None, None]:
    """The same batches, read in a thread of their own up to `depth` ahead. Ends early when stopping was asked for and
    the source has been silent for 5 s since: it may hang."""
    queue: Queue[Any] = Queue(maxsize=depth)
    gone = Event()
    asked = 0

    def put(item: Any) -> bool:
        while not gone.is_set():
            try:
                queue.put(item, timeout=0.5)
            except Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for batch in batches:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001  # carried to the reading thread, which raises it
            put(error)
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()

    thread = Thread(target=work, name="tongqu-read", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = queue.get(timeout=_PATIENCE)
            except Empty:
                if not thread.is_alive() and queue.empty():
                    raise ReadError("the reading thread ended without a result", hint="run again") from None
                asked += stop is not None and stop.is_set()
                if asked * _PATIENCE > _STOP_SECONDS:
                    return
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            crash_point("after_read")
            yield item
            del item
    finally:
        gone.set()
        thread.join(timeout=5)
