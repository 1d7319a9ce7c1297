"""What goes on by itself and fails for a while: told once in one line, tried again after growing waits, told when it
is over."""

from __future__ import annotations

import errno
import logging
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tongqu.core.errors import TongquError

LONGEST_SECONDS = 10.0
"""No wait is longer: where there is room again, everything goes on within it."""
REMIND_SECONDS = 3600.0
"""What lasts is told again so often."""
_SPENT = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EMFILE: "this process has as many files open as it may",
    errno.ENFILE: "this machine has as many files open as it may",
    errno.ENOMEM: "there is no memory left",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk cannot be read or written",
}
_SQLITE = {"disk is full": errno.ENOSPC, "disk I/O error": errno.EIO, "readonly": errno.EROFS}
_HINTS = {
    errno.ENOSPC: "make room; nothing needs to be started again",
    errno.EDQUOT: "make room or raise the quota; nothing needs to be started again",
    errno.EMFILE: "raise its limit: ulimit -n, LimitNOFILE= of systemd",
    errno.ENFILE: "raise fs.file-max",
    errno.ENOMEM: "give the machine more memory, or run less at a time: --concurrency, limit.memory_mb",
}


def why(error: BaseException) -> str:
    """A failure in one line, with what to do about it where the machine has run out of something."""
    number = _number(error)
    if number in _SPENT:
        hint = _HINTS.get(number)
        return f"{_SPENT[number]} ({_plain(error)})" + (f": {hint}" if hint else "")
    return _plain(error)


def passing(error: BaseException) -> bool:
    """Whether it is a state of the machine or of a system, which passes, and no mistake in a program."""
    return isinstance(error, TongquError | OSError | sqlite3.Error | MemoryError) or _starved(error)


@dataclass
class Trouble:
    """The failures of one thing that goes on by itself, called `what` in the metrics; `said` is what people are told.
    Not for several threads at once.

    Only what may be a mistake in the program is logged with its trace, and only when it begins.
    """

    what: str
    said: str
    logger: logging.Logger
    least: float = 1.0
    """The first wait, in seconds."""
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    count: int = 0
    """Failures since the last success."""
    total: int = 0
    """Failures ever."""
    _since: float = 0.0
    _told: float = 0.0
    _last: str = field(default="", repr=False)

    @property
    def lasting(self) -> bool:
        """Whether it fails at the moment."""
        return self.count > 0

    def failed(self, error: BaseException) -> float:
        """Tell of it where there is something new to tell; the seconds to wait before the next attempt."""
        now, kind = self.clock(), _kind(error)
        self.count += 1
        self.total += 1
        if self.count == 1:
            self._since = now
        if self.count == 1 or kind != self._last or now - self._told >= REMIND_SECONDS:
            self._told, self._last = now, kind
            self.logger.error("%s: %s; it is tried again", self.said, why(error),
                              exc_info=None if passing(error) else error)  # fmt: skip
        wait = min(self.least * 2.0 ** min(self.count - 1, 16), LONGEST_SECONDS)
        return wait * (0.5 + self.chance() / 2)

    def over(self) -> None:
        """It went well; told if it had failed before."""
        if self.count:
            lasted = self.clock() - self._since
            self.logger.warning("%s: over after %.0f s and %d attempts", self.said, lasted, self.count)
        self.count, self._last = 0, ""


def _plain(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    return (
        text
        if isinstance(error, TongquError) and text
        else f"{type(error).__name__}: {text}"
        if text
        else type(error).__name__
    )


def _kind(error: BaseException) -> str:
    """The same for the same trouble, whatever files and numbers its text names."""
    number = _number(error)
    return f"errno {number}" if number else f"{type(error).__qualname__} {getattr(error, 'code', '')}"


def _number(error: BaseException) -> int:
    """The errno of a failure, or of what caused it; 0 for none."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno:
            return seen.errno
        if isinstance(seen, MemoryError) or _starved(seen):
            return errno.ENOMEM
        if isinstance(seen, sqlite3.Error | TongquError):
            for words, number in _SQLITE.items():
                if words in str(seen):
                    return number
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return 0


def _starved(error: BaseException) -> bool:
    """Whether a thread could not be begun."""
    return isinstance(error, RuntimeError) and "start new thread" in str(error)
