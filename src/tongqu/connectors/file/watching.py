"""Waits until it is worth looking for files again: a change that the system tells of, or some time."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any

_SLICE = 0.5
_GLOB = re.compile(r"[*?\[]")


class Watching:
    """A folder that is watched by the operating system where that is possible (`watchfiles` is installed and the folder
    is here), and looked at every `seconds` in any case: shares on a network tell of nothing."""

    def __init__(self, root: Path | None, seconds: float, stop: Event):
        self._seconds, self._stop = seconds, stop
        self._due = time.monotonic() + seconds
        self._changes = _changes(root, stop) if root is not None else None

    def soon(self, seconds: float) -> None:
        """Look again no later than in so many seconds."""
        self._due = min(self._due, time.monotonic() + seconds)

    def wait(self) -> bool:
        """Wait for half a second at most; whether it is time to look."""
        changed = False
        left = self._due - time.monotonic()
        if self._changes is not None and left > 0:
            try:
                changed = bool(next(self._changes, None))
            except OSError:
                self._changes = None  # the folder is gone or cannot be watched: it is looked at in time
        elif left > 0:
            self._stop.wait(min(_SLICE, left))
        if not changed and time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + self._seconds
        return True

    def close(self) -> None:
        """Watch no more."""
        if self._changes is not None:
            self._changes.close()
            self._changes = None


def root_of(path: str) -> Path:
    """The folder below which all files of a path or glob are."""
    kept: list[str] = []
    for part in PurePosixPath(path).parts:
        if _GLOB.search(part):
            break
        kept.append(part)
    found = Path(*kept) if kept else Path()
    return found if found.is_dir() else found.parent


def _changes(root: Path, stop: Event) -> Generator[Any, None, None] | None:
    try:
        from watchfiles import watch
    except ImportError:
        return None
    if not root.is_dir():
        return None
    return watch(
        root, watch_filter=None, debounce=50, step=20, stop_event=stop, rust_timeout=int(_SLICE * 1000),
        yield_on_timeout=True, raise_interrupt=False,
    )  # fmt: skip
