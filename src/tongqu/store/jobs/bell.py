"""Bells wake processes that wait for work, so that nobody has to look again and again."""

from __future__ import annotations

import errno
import os
import secrets
import select
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path


class Bell(ABC):
    """What one process waits at. `nudge` may be called from any thread and from a signal handler."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def nudge(self) -> None:
        """Wake the one who waits here, or the next wait at once."""
        with suppress(BlockingIOError, OSError):
            os.write(self._writing, b"!")

    def wait(self, seconds: float) -> None:
        """Wait until somebody rings or nudges, at most that long. May end early."""
        others = self._others()
        ready, _, _ = select.select([self._reading, *others], [], [], max(seconds, 0.0))
        if self._reading in ready:
            _drain(self._reading)
        if any(one in ready for one in others):
            self._hear()

    def close(self) -> None:
        """Let go of it."""
        for number in (self._reading, self._writing):
            os.close(number)

    @abstractmethod
    def _others(self) -> list[int]:
        """Where rings of other processes arrive."""

    @abstractmethod
    def _hear(self) -> None:
        """Take rings of others off the line."""


class Fifos:
    """Bells of the processes of one host: named pipes in a folder."""

    def __init__(self, folder: Path):
        self._folder = folder

    def bell(self) -> Bell:
        """A bell in the folder, which is made if it is not there."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _Fifo(self._folder / f"{os.getpid()}-{secrets.token_hex(4)}")

    def ring(self) -> None:
        """Ring every bell; those that nobody waits at any more are removed."""
        for path in self._folder.glob("*-*") if self._folder.is_dir() else ():
            try:
                number = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    path.unlink(missing_ok=True)
                continue
            try:
                with suppress(BlockingIOError):
                    os.write(number, b"!")
            finally:
                os.close(number)


class _Fifo(Bell):
    def __init__(self, path: Path):
        super().__init__()
        self._path = path
        unheard = path.with_name(path.name.replace("-", "."))  # `ring` removes bells that nobody waits at
        os.mkfifo(unheard, 0o600)
        self._number = os.open(unheard, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        unheard.rename(path)

    def close(self) -> None:
        """See Bell.close."""
        self._path.unlink(missing_ok=True)
        os.close(self._number)
        super().close()

    def _others(self) -> list[int]:
        return [self._number]

    def _hear(self) -> None:
        _drain(self._number)


def _drain(number: int) -> None:
    with suppress(BlockingIOError):
        while os.read(number, 4096):
            continue
