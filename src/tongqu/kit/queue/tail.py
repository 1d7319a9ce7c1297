"""Looks at the tail that a crash or a bad disk left: how much of SQLite's write-ahead log will be cut, and from where.

The format is that of https://www.sqlite.org/fileformat2.html#the_write_ahead_log (sections 4.1-4.3). SQLite reads a log
up to its first frame that is not whole and says nothing about the rest; this is what says it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np

_HEADER = 32
_FRAME = 24
_MAGIC = (0x377F0682, 0x377F0683)
_FRAMES_AT_ONCE = 256
_GENERATIONS = 1 << 20
"""SQLite adds 1 to the first salt each time it begins the log anew, and what is left of earlier has a lower one."""


@dataclass(frozen=True)
class _Log:
    """What a log's header says."""

    size: int
    page: int
    order: str
    salts: bytes
    state: tuple[int, int]


def torn(wal: Path) -> int:
    """How many bytes of a write-ahead log that nobody has open will be cut because they are not as they were written;
    0 where it is whole, or not there."""
    try:
        size = wal.stat().st_size
        if size <= _HEADER:
            return 0
        with wal.open("rb") as file:
            log = _log(file.read(_HEADER), size)
            return size if log is None else _torn_frames(file, log)
    except FileNotFoundError:
        return 0


def _log(header: bytes, size: int) -> _Log | None:
    import numpy as np

    words = [_word(header, at) for at in range(0, _HEADER, 4)]
    if words[0] not in _MAGIC or words[2] not in {1 << n for n in range(9, 17)}:
        return None
    order = ">u4" if words[0] & 1 else "<u4"
    state = _after((0, 0), np.frombuffer(header[:24], order).tolist())
    return _Log(size, words[2], order, header[16:24], state) if state == (words[6], words[7]) else None


def _torn_frames(file: BinaryIO, log: _Log) -> int:
    import numpy as np

    frame = _FRAME + log.page
    begin = committed = _HEADER
    state, bad = log.state, False
    ours = 0  # where the last bytes end that are of this time, behind the first that are not whole
    while begin < log.size:
        raw = file.read(frame * _FRAMES_AT_ONCE)
        count = len(raw) // frame
        frames = np.frombuffer(raw[: count * frame], np.uint8).reshape(count, frame)
        sums = _sums(frames, log.order)
        for number in range(count):
            head = bytes(frames[number, :_FRAME])
            end = begin + (number + 1) * frame
            if bad:
                ours = end if head[8:16] == log.salts else ours
                continue
            state = _combined(state, sums[number], (log.page + 8) // 8)
            if head[8:16] == log.salts and state == (_word(head, 16), _word(head, 20)):
                committed = end if _word(head, 4) else committed
                continue
            bad = True
            ours = end if head[8:16] == log.salts or not _earlier(head[8:12], log.salts[:4]) else 0
        begin += len(raw)
        if raw[count * frame :][8:16] == log.salts:
            ours = log.size
    return ours - committed if ours > committed else 0


def _earlier(found: bytes, ours: bytes) -> bool:
    behind = (int.from_bytes(ours, "big") - int.from_bytes(found, "big")) & 0xFFFFFFFF
    return 0 < behind < _GENERATIONS


def _word(head: bytes, at: int) -> int:
    return int.from_bytes(head[at : at + 4], "big")


def _after(state: tuple[int, int], words: Sequence[int]) -> tuple[int, int]:
    first, second = state
    for place in range(0, len(words), 2):
        first = (first + words[place] + second) & 0xFFFFFFFF
        second = (second + words[place + 1] + first) & 0xFFFFFFFF
    return first, second


@cache
def _weights(pairs: int) -> Any:
    """What each word of so many pairs adds to the two sums: both are linear in all words (modulo 2**32)."""
    import numpy as np

    made = np.zeros((2, 2 * pairs), np.uint32)
    power = (1, 0, 0, 1)
    for pair in range(pairs - 1, -1, -1):
        a, b, c, d = power
        made[0, 2 * pair], made[0, 2 * pair + 1] = (a + b) & 0xFFFFFFFF, b
        made[1, 2 * pair], made[1, 2 * pair + 1] = (c + d) & 0xFFFFFFFF, d
        power = ((a + b) & 0xFFFFFFFF, (a + 2 * b) & 0xFFFFFFFF, (c + d) & 0xFFFFFFFF, (c + 2 * d) & 0xFFFFFFFF)
    return made, power


def _sums(frames: np.ndarray[Any, Any], order: str) -> list[tuple[int, int]]:
    """What each frame's words add, beginning from nothing."""
    import numpy as np

    if not len(frames):
        return []
    taken = np.concatenate([frames[:, :8], frames[:, _FRAME:]], axis=1)
    words = np.ascontiguousarray(taken).view(order).astype(np.uint32)
    weights, _ = _weights(words.shape[1] // 2)
    sums = [(words * weights[which]).sum(axis=1, dtype=np.uint32).tolist() for which in (0, 1)]
    return list(zip(*sums, strict=True))


def _combined(state: tuple[int, int], added: tuple[int, int], pairs: int) -> tuple[int, int]:
    _, (a, b, c, d) = _weights(pairs)
    first, second = state
    return (a * first + b * second + added[0]) & 0xFFFFFFFF, (c * first + d * second + added[1]) & 0xFFFFFFFF
