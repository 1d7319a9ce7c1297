"""Counts of several processes of one machine in one piece of memory, so that a limit is the same however many serve."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b

from tongqu.gateway.limit.rates import Counted, Meter, Rate, Taken

SLOTS = 1 << 17
_WAYS = 8
_HEAD = 64
_SLOT = struct.Struct("<16s16sQ")
_COUNT = struct.Struct("<Q")
_EMPTY = bytes(16)
_SIZE = _HEAD + SLOTS * _SLOT.size


def made() -> int:
    """A file without a name for the counts; the descriptor is handed to the processes, and the last one ends it."""
    with tempfile.TemporaryFile() as opened:
        number = os.dup(opened.fileno())
    os.ftruncate(number, _SIZE)
    return number


@cache
def table(number: int) -> Table:
    """The counts behind a descriptor; the same object each time, since who closes one lets go of all its locks."""
    return Table(number)


class Table(MutableMapping[str, int]):
    """Numbers by place, as `Meter` keeps them, held by digests. Every access belongs into `locked`.

    Where the eight slots of a digest are full, the one that ends first makes room. A process that is killed leaves
    its lock to the others.
    """

    def __init__(self, number: int):
        self._number = number
        self._memory = mmap.mmap(number, _SIZE)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else looks or writes meanwhile."""
        fcntl.lockf(self._number, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._number, fcntl.LOCK_UN)

    def __getitem__(self, place: str) -> int:
        digest, first = _spot(place)
        at = self._find(digest, first)
        if at is None:
            raise KeyError(place)
        return int.from_bytes(_SLOT.unpack_from(self._memory, at)[1], "little")

    def __setitem__(self, place: str, value: int) -> None:
        digest, first = _spot(place)
        at = self._find(digest, first)
        if at is None:
            at = self._room(first)
        until = value // int(place.partition(" ")[0])
        _SLOT.pack_into(self._memory, at, digest, value.to_bytes(16, "little"), until)

    def __delitem__(self, place: str) -> None:
        at = self._find(*_spot(place))
        if at is None:
            raise KeyError(place)
        _SLOT.pack_into(self._memory, at, _EMPTY, _EMPTY, 0)
        self._count(-1)

    def __len__(self) -> int:
        return int(_COUNT.unpack_from(self._memory, 0)[0])

    def __iter__(self) -> Iterator[str]:
        raise TypeError("only digests of the places are kept")

    def _find(self, digest: bytes, first: int) -> int | None:
        for at in range(first, first + _WAYS * _SLOT.size, _SLOT.size):
            if self._memory[at : at + 16] == digest:
                return at
        return None

    def _room(self, first: int) -> int:
        """A slot that is empty, or the one that ends first."""
        places = range(first, first + _WAYS * _SLOT.size, _SLOT.size)
        for at in places:
            if self._memory[at : at + 16] == _EMPTY:
                self._count(1)
                return at
        return min(places, key=lambda at: _SLOT.unpack_from(self._memory, at)[2])

    def _count(self, more: int) -> None:
        _COUNT.pack_into(self._memory, 0, len(self) + more)


def _spot(place: str) -> tuple[bytes, int]:
    """The digest of a place, and where its eight slots begin."""
    digest = blake2b(place.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    group = int.from_bytes(digest[:4], "little") % (SLOTS // _WAYS)
    return digest, _HEAD + group * _WAYS * _SLOT.size


class CommonMeter(Meter):
    """As `Meter`, for all processes that were given the same table. `now` is the machine's monotonic clock."""

    def __init__(self, counts: Table):
        super().__init__(SLOTS)
        self._table = counts
        self._times = counts

    def take(self, wanted: Sequence[tuple[Rate, str]], now: int, weights: Sequence[int] = ()) -> list[Taken]:
        """See Meter.take."""
        with self._table.locked():
            return super().take(wanted, now, weights)

    def brief(self, wanted: Sequence[Counted], now: int) -> str | None:
        """See Meter.brief."""
        with self._table.locked():
            return super().brief(wanted, now)

    def hit(self, rate: Rate, key: str, now: int, keep: int = 0) -> int:
        """See Meter.hit."""
        with self._table.locked():
            return super().hit(rate, key, now, keep)

    def waits(self, rate: Rate, key: str, now: int) -> int:
        """See Meter.waits."""
        with self._table.locked():
            return super().waits(rate, key, now)

    def give_back(self, rate: Rate, key: str) -> None:
        """See Meter.give_back."""
        with self._table.locked():
            super().give_back(rate, key)

    def _keep(self, new: Sequence[tuple[str, int]], now: int) -> None:
        self._table.update(new)
