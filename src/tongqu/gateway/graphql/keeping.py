"""What is kept for the next request of the same kind, within a budget of characters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by key, the least recently used let go first. `most` is the sum of all weights, in characters of the
    documents they are made of (a parsed document takes about 130 bytes for each); `longest` is the most of one, beyond
    which nothing is kept."""

    def __init__(self, most: int, longest: int) -> None:
        self._most, self._longest = most, longest
        self._weight = 0
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> T | None:
        """The value, if it is kept."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: T, weight: int) -> None:
        """Keep a value."""
        if weight > self._longest:
            return
        before = self._values.pop(key, None)
        self._values[key] = (value, weight)
        self._weight += weight - (before[1] if before else 0)
        while self._weight > self._most:
            _, (_, gone) = self._values.popitem(last=False)
            self._weight -= gone

    def clear(self) -> None:
        """Let go of everything."""
        self._values.clear()
        self._weight = 0
