"""Copies on this machine of files that must be sought or unpacked: bounded, private, gone when the command ends."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock

from tongqu.core.errors import ReadError

_NEWEST = 4
"""So many copies are never given up for others: somebody may just be reading them."""
_PREFIX = "spool-"
_LONGEST = 60
"""Characters of a copy's name, of up to four bytes each, where 255 bytes fit."""


class Spool:
    """A folder of copies. Safe to be used by several threads; each copy is made once."""

    def __init__(self, home: Path | None, limit: int):
        """`home` is where the folder is made (None: the system's temporary folder); `limit` is in bytes."""
        self._home, self._limit = home, limit
        self._folder: Path | None = None
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._busy: dict[str, Lock] = {}
        self._lock = Lock()

    def copy(self, key: str, name: str, content: Callable[[], Iterator[bytes]]) -> Path:
        """The copy under that key, called `name`; made of `content` if there is none. Raises ReadError if all copies
        together would need more than the limit."""

        def write(path: Path) -> None:
            size = 0
            with path.open("wb") as file:
                for block in content():
                    size += len(block)
                    self._make_room(size, name)
                    file.write(block)

        return self.made(key, name, write)

    def made(self, key: str, name: str, make: Callable[[Path], None]) -> Path:
        """As `copy`, where something else writes the file whose path it is given."""
        own = hashlib.sha256(key.encode()).hexdigest()[:32]
        with self._lock:
            busy = self._busy.setdefault(own, Lock())
        with busy:
            folder = self._place() / own
            path = folder / _short(name)
            with self._lock:
                if own in self._sizes:
                    self._sizes.move_to_end(own)
                    return path
            folder.mkdir()
            try:
                make(path)
                self._make_room(path.stat().st_size, name)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            with self._lock:
                self._sizes[own] = path.stat().st_size
            return path

    def _make_room(self, size: int, name: str) -> None:
        with self._lock:
            while sum(self._sizes.values()) + size > self._limit:
                if len(self._sizes) <= _NEWEST:
                    raise ReadError(
                        f"the copy of {name} does not fit into the spool of {self._limit >> 20} MB",
                        hint="raise spool_mb, or read fewer files at a time",
                    )
                oldest, _ = self._sizes.popitem(last=False)
                if self._folder is not None:
                    shutil.rmtree(self._folder / oldest, ignore_errors=True)

    def _place(self) -> Path:
        with self._lock:
            if self._folder is None:
                if self._home is None:
                    self._folder = Path(tempfile.mkdtemp(prefix="tongqu-spool-"))
                else:
                    self._home.mkdir(parents=True, exist_ok=True)
                    _sweep(self._home)
                    self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=self._home))
            return self._folder

    def close(self) -> None:
        """Remove all copies; may be called twice."""
        with self._lock:
            folder, self._folder = self._folder, None
            self._sizes.clear()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _short(name: str) -> str:
    """A name that every file system takes, with the endings of the given one."""
    plain = Path(name).name[-_LONGEST:].replace("\0", "_")
    return plain if plain.strip(".") else "file"


def _sweep(home: Path) -> None:
    """Remove what processes that no longer live have left."""
    for folder in home.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    with suppress(ProcessLookupError):
        with suppress(PermissionError):
            os.kill(pid, 0)
        return True
    return False
