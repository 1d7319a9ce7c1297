"""Answers in this process's memory, bounded by bytes: those that nobody asked for longest go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
_OVERHEAD = 600
"""Bytes that an entry takes beside its answer."""
_SHARE = 8
"""An answer larger than this part of the whole is not kept: it would drive out too many others."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """What is kept, since when (in the clock of whoever keeps it), its bytes, and the tags that end it."""

    value: T
    made: float
    size: int
    tags: frozenset[str]


class Memory(Generic[T]):
    """At most `most` bytes of values by key. Belongs to one thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[bytes, Entry[T]] = OrderedDict()
        self._tagged: dict[str, set[bytes]] = {}
        self.bytes = 0
        """Bytes that are kept, with what the keeping itself takes."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Entry[T] | None:
        """What is kept under the key."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, value: T, made: float, size: int, tags: Iterable[str]) -> bool:
        """Keep the value instead of what was under the key; False where it is too large."""
        self.drop(key)
        size += _OVERHEAD
        if size * _SHARE > self._most:
            return False
        entry = Entry(value, made, size, frozenset(tags))
        self._entries[key] = entry
        self.bytes += size
        for tag in entry.tags:
            self._tagged.setdefault(tag, set()).add(key)
        while self.bytes > self._most:
            self.drop(next(iter(self._entries)))
        return True

    def drop(self, key: bytes) -> None:
        """Forget one."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self.bytes -= entry.size
        for tag in entry.tags:
            keys = self._tagged[tag]
            keys.discard(key)
            if not keys:
                del self._tagged[tag]

    def purge(self, tag: str) -> int:
        """Forget all that have the tag; how many they were."""
        keys = tuple(self._tagged.get(tag, ()))
        for key in keys:
            self.drop(key)
        return len(keys)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._tagged.clear()
        self.bytes = 0
