"""Ids of requests and traces: random, and read from the system for many at a time."""

from __future__ import annotations

import os
from weakref import WeakSet

_BYTES = 4096
_ALL: WeakSet[Ids] = WeakSet()


class Ids:
    """Gives hexadecimal ids of the system's random numbers, none of which is given twice. For one thread."""

    def __init__(self) -> None:
        self._left = ""
        self._at = 0
        _ALL.add(self)

    def __call__(self, size: int = 8) -> str:
        """An id of so many bytes."""
        end = self._at + 2 * size
        if end > len(self._left):
            self._left, self._at, end = os.urandom(max(_BYTES, size)).hex(), 0, 2 * size
        found = self._left[self._at : end]
        self._at = end
        return found

    def forget(self) -> None:
        """Give none of those that were read already."""
        self._left, self._at = "", 0


def _forked() -> None:
    for ids in _ALL:
        ids.forget()


os.register_at_fork(after_in_child=_forked)
