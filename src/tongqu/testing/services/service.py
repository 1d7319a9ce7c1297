"""A running server as tests see it: its address, fresh databases in it, and the ways to hurt it."""

from __future__ import annotations

import secrets
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

from tongqu.testing.services.errors import ServiceError, ServiceStartError
from tongqu.testing.services.process import HOST, Account, ServerProcess, discard_folder, free_port, port_is_free

START_SECONDS = 60.0
_BUSY = ("Address already in use", "could not bind", "Can't start server: Bind on TCP/IP port")


class Service(ABC):
    """One server on 127.0.0.1 that belongs to this process and ends with it, however it ends.

    `kind` says what it is: "real" (the product itself), "compatible" (another product that speaks its
    protocol) or "mock". Port, password and data stay the same over `kill9` and `restart`. Not thread-safe.
    """

    kind: ClassVar[Literal["real", "compatible", "mock"]] = "real"
    name: ClassVar[str]
    _end: ClassVar[signal.Signals]
    _throw_away: ClassVar[signal.Signals]

    def __init__(self, folder: Path, owner: Account | None) -> None:
        self.host = HOST
        self.port = 0
        self.version = ""
        self._folder = folder
        self._owner = owner
        self._password = secrets.token_hex(16)
        self._process: ServerProcess | None = None

    @property
    def label(self) -> str:
        """For reports: `PostgreSQL 15.14 (real)`."""
        return f"{self.name} {self.version} ({self.kind})"

    @property
    def url(self) -> str:
        """URL of the administrator's database, with the password."""
        return self.url_of(self._home)

    @property
    def running(self) -> bool:
        """Whether the server process lives; a paused one does."""
        return self._process is not None and self._process.running

    def database(self, name: str | None = None) -> str:
        """Creates an empty database (a random name if None) and returns its URL."""
        chosen = name or f"t_{secrets.token_hex(6)}"
        self._create(chosen)
        return self.url_of(chosen)

    def stop(self) -> None:
        """Ends the server without ceremony and removes its data; the handle can not be used any more."""
        if self._process is not None:
            self._process.end(self._throw_away, 5)
            self._process = None
        discard_folder(self._folder)

    def kill9(self) -> None:
        """SIGKILL to the whole server tree, as a power cut of the program; the data folder stays."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Shuts down in order if it runs, then starts on the same data and port and waits until it answers."""
        if not self._folder.exists():
            raise ServiceError(f"{self.name} was stopped; its data is gone")
        if self._process is not None:
            self._process.end(self._end, 20)
        deadline = time.monotonic() + START_SECONDS
        while not port_is_free(self.port) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not self._launch(self.port):
            raise ServiceError(f"{self.name} can not get port {self.port} back")

    def pause(self) -> None:
        """SIGSTOP to the whole server tree: connections stay open, the kernel accepts more, nobody answers."""
        if self._process is not None:
            self._process.pause()

    def resume(self) -> None:
        """SIGCONT to the whole server tree; harmless if it was not paused."""
        if self._process is not None:
            self._process.resume()

    def mend(self) -> None:
        """Undoes `pause` and `kill9`, so that the next user of a shared server finds it answering."""
        if self.running:
            self.resume()
        else:
            self.restart()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def url_of(self, database: str) -> str:
        """URL of a database of this server, with the password."""

    @abstractmethod
    def drop(self, database: str) -> None:
        """Drops a database whoever is connected to it; harmless if there is none of that name."""

    _home: ClassVar[str]

    @abstractmethod
    def _command(self, port: int) -> Sequence[str | Path]: ...

    @abstractmethod
    def _create(self, database: str) -> None: ...

    @abstractmethod
    def _probe(self) -> str:
        """Logs in and returns the server's version; any exception means not yet."""

    def _start(self) -> Self:
        """The first start: takes free ports until one can be bound."""
        try:
            for _ in range(5):
                self.port = free_port()
                if self._launch(self.port):
                    return self
            raise ServiceError(f"{self.name} found all of five free ports taken")
        except BaseException:
            self.stop()
            raise

    def _launch(self, port: int) -> bool:
        """Starts on `port` and waits until a login works; False if the port was taken by somebody else."""
        process = ServerProcess(self._command(port), self._owner, self._folder)
        self._process = process
        deadline = time.monotonic() + START_SECONDS
        problem = "no answer"
        while time.monotonic() < deadline:
            if process.wait(0.03):
                words = process.log_tail()
                if any(busy in words for busy in _BUSY):
                    return False
                raise ServiceStartError(f"{self.name} ended while starting: {words}")
            try:
                self.version = self._probe()
            except self._not_ready() as error:
                problem = str(error).strip()
                continue
            return True
        words = process.log_tail()
        process.kill()
        raise ServiceStartError(f"{self.name} did not answer in {START_SECONDS:.0f} s: {problem}\n{words}")

    @abstractmethod
    def _not_ready(self) -> type[Exception]:
        """The driver's error that `_probe` raises while the server is not up."""
