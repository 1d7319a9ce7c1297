"""Several logs read side by side: what has come of each, up to a place where it may be cut."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

from tongqu.core.data import Batch, Position
from tongqu.core.log import Follow, Log

CHUNK_SECONDS, CHUNK_ROWS = 0.05, 65_536
_WAIT = 0.1
_HELD = 64
_STOP_SECONDS = 5.0
_END = object()


@dataclass
class Gathered:
    """Batches by log, each up to the position that it has come to."""

    batches: dict[str, list[Batch]] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    rows: int = 0


class Merging:
    """Reads logs by name, each in a thread of its own. `take` until None; `close` whatever happens."""

    def __init__(self, logs: Mapping[str, Log], after: Mapping[str, Position], until: Mapping[str, Position] | None):
        self._stop = Event()
        self._queue: Queue[tuple[str, Any]] = Queue(_HELD)
        self._running = set(logs)
        self._open: dict[str, list[Batch]] = {name: [] for name in logs}
        self._threads = []
        for name, log in logs.items():
            follow = Follow(after[name], until[name] if until is not None else None, stop=self._stop, by_time=True)
            self._threads.append(Thread(target=self._read, args=(name, log, follow), name="tongqu-input", daemon=True))
        for thread in self._threads:
            thread.start()

    def _read(self, name: str, log: Log, follow: Follow) -> None:
        try:
            batches = log.read(follow)
            try:
                for batch in batches:
                    if not self._put(name, batch):
                        return
            finally:
                close = getattr(batches, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # noqa: BLE001  # carried to the thread that takes
            self._put(name, error)
            return
        self._put(name, _END)

    def _put(self, name: str, item: Any) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put((name, item), timeout=_WAIT)
            except Full:
                continue
            return True
        return False

    def take(self, stop: Event) -> Gathered | None:
        """Whole transactions: what came until nothing waits, a time has passed or there are many rows; it may be
        nothing but positions. None at the end of all logs, or when stopped. Raises what a log raised."""
        found, begun = Gathered(), 0.0
        while self._running or not self._queue.empty():
            if stop.is_set():
                return None
            try:
                name, item = self._queue.get(timeout=_WAIT if not found.positions else 0.0005)
            except Empty:
                if found.positions:
                    return found
                continue
            if isinstance(item, BaseException):
                raise item
            if item is _END:
                self._running.discard(name)
                continue
            begun = begun or time.monotonic()
            self._add(found, name, item)
            if found.rows >= CHUNK_ROWS or (found.rows and time.monotonic() - begun > CHUNK_SECONDS):
                return found
        return found if found.positions else None

    def _add(self, found: Gathered, name: str, batch: Batch) -> None:
        if batch.kind != "heartbeat":
            self._open[name].append(batch)
        if batch.position is not None:
            found.batches.setdefault(name, []).extend(self._open[name])
            found.rows += sum(one.rows.num_rows + (one.kind == "truncate") for one in self._open[name])
            found.positions[name] = batch.position
            self._open[name] = []

    def close(self) -> None:
        """Stop the threads; may be called twice."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)
