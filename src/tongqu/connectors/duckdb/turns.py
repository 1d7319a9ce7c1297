"""Who serves a DuckDB file lets go of it when somebody else wants to write: they meet at a lock beside the file.

DuckDB locks its file for as long as it is open, so a gateway that answers all day would keep every pipeline of another
process out for ever. Whoever wants to write locks `<file>.turn` until it has the file; whoever serves looks at that
lock before each query, begins none while it is held, and closes the file when those that run have ended. The kernel
drops the lock with its process, so nothing is left by a crash.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

try:
    import fcntl
except ImportError:  # Windows: whoever comes second is told that the file is busy
    fcntl = None  # type: ignore[assignment]  # asked for everywhere

_LOOK = 0.02


class Turns:
    """The lock beside one file."""

    def __init__(self, path: str | Path):
        self._path = Path(f"{path}.turn")

    @property
    def kept(self) -> bool:
        """Whether somebody serves the file, or has, so that waiting makes sense."""
        return fcntl is not None and self._path.exists()

    def keep(self) -> None:
        """Say that the file is served. Where the folder cannot be written nobody can be let in by this."""
        with contextlib.suppress(OSError):
            self._path.touch(exist_ok=True)

    def wanted(self) -> bool:
        """Whether somebody waits for the file to write it."""
        if fcntl is None:
            return False
        try:
            place = os.open(self._path, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(place, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        else:
            return False
        finally:
            os.close(place)

    @contextmanager
    def taken(self, seconds: float) -> Iterator[bool]:
        """A context in which those who serve let go; False if others had the turn for so long."""
        until = monotonic() + seconds
        place = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while not (ours := _locked(place)) and monotonic() < until:
                sleep(_LOOK)
            yield ours
        finally:
            os.close(place)


def _locked(place: int) -> bool:
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
