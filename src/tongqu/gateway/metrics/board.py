"""Numbers that several processes count in without waiting for each other: one mapped file a process, summed on reading.

A file is 8 bytes of how long its names are, SLOTS numbers (float64, little-endian) and the names, one a line in the
order of the numbers. Only its owner writes it, and holds a lock on it; counters of ended processes go on counting in
one file (`retired`), gauges end with their process.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tongqu.kit import lasting

SLOTS = 16_384
"""Most numbers of one process; what would be beyond is not counted (`full`)."""
_NAMES = 4 << 20
_HEAD = 8
_AT = _HEAD + SLOTS * 8
_SIZE = _AT + _NAMES
_SUFFIX = ".numbers"
_RETIRED = "retired"
GAUGE = "="
"""First character of the name of a number that is not carried on when its process ends."""


class Board:
    """The numbers of this process: `numbers[slot(name)] += 1`. Not safe for several threads."""

    def __init__(self, folder: Path, process: str):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        with _alone(folder):
            self._file = os.open(folder / f"{process}{_SUFFIX}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, _SIZE)
            _retire(folder)
        self._map = mmap.mmap(self._file, _SIZE)
        self._view = memoryview(self._map)
        self.numbers = self._view[_HEAD:_AT].cast("d")
        """The numbers, by slot."""
        self.full = False
        """Whether a name was refused; its number then goes to the last slot, which nobody reads."""
        self._slots: dict[str, int] = {}
        for name in bytes(self._map[_AT : _AT + self._named()]).decode().split("\n")[:-1]:
            self._slots[name] = len(self._slots)
        self._length = self._named()

    def slot(self, name: str) -> int:
        """Where the number of this name stands; it begins with 0."""
        found = self._slots.get(name)
        if found is not None:
            return found
        text = f"{name}\n".encode()
        if len(self._slots) >= SLOTS - 1 or self._length + len(text) > _NAMES or name.count("\n"):
            self.full = True
            return SLOTS - 1
        place = self._slots[name] = len(self._slots)
        self._map[_AT + self._length : _AT + self._length + len(text)] = text
        self._length += len(text)
        struct.pack_into("<q", self._map, 0, self._length)
        return place

    def sums(self) -> dict[str, float]:
        """The numbers of all processes, summed by name; those of processes that ended count on."""
        with _alone(self._folder):
            _retire(self._folder)
            return _summed(_files(self._folder))

    def close(self) -> None:
        """Give the file up; what was counted stays. May be called twice."""
        if self._map.closed:
            return
        self.numbers.release()
        self._view.release()
        self._map.close()
        os.close(self._file)

    def _named(self) -> int:
        return int(struct.unpack_from("<q", self._map, 0)[0])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _retire(folder: Path) -> None:
    """Add the counters of ended processes to the retired ones; the caller holds the lock."""
    retired = folder / f"{_RETIRED}{_SUFFIX}"
    ended = [path for path in _files(folder) if path != retired and _ended(path)]
    if not ended:
        return
    sums = _summed([*ended, *([retired] if retired.exists() else [])])
    kept = [(name, number) for name, number in sums.items() if not name.startswith(GAUGE)][: SLOTS - 1]
    names = "".join(f"{name}\n" for name, _ in kept).encode()
    numbers = struct.pack(f"<{len(kept)}d", *(number for _, number in kept))
    lasting.put(retired, struct.pack("<q", len(names)) + numbers.ljust(SLOTS * 8, b"\0") + names, 0o600)
    for path in ended:
        path.unlink()


def _ended(path: Path) -> bool:
    with suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        return True
    return False


def _summed(paths: list[Path]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for path in paths:
        with path.open("rb") as stream:
            head = stream.read(_AT)
            length = struct.unpack_from("<q", head.ljust(_HEAD, b"\0"))[0]
            text = stream.read(_NAMES)[: max(0, length)].decode(errors="replace")
        if len(head) == _AT and "\0" not in text:  # nobody knows whose the numbers are when a loss of power tore it
            names = text.split("\n")[:-1]
            for name, number in zip(names, struct.unpack_from(f"<{SLOTS}d", head, _HEAD), strict=False):
                sums[name] = sums.get(name, 0.0) + number
    return sums
