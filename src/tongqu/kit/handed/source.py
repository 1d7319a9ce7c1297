"""Follows queues of a broker that hands messages out."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Read
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.handed.line import Connect, Line
from tongqu.kit.handed.settings import HandedSettings
from tongqu.kit.handed.table import Queue
from tongqu.kit.messages.source import Registered
from tongqu.kit.patterns import wanted

if TYPE_CHECKING:
    from tongqu.core.log import Log


class HandedSource(Source):
    """Queues of the settings as datasets, which can only be followed."""

    def __init__(self, settings: HandedSettings, connect: Connect):
        self._settings, self._connect = settings, connect
        self._registered = Registered(settings.registry)

    def lodge(self, folder: Path) -> None:
        """See Source.lodge."""
        self._registered.lodge(folder)

    def check(self) -> Iterator[str]:
        """See Source.check. Takes no message, since that would take it from others."""
        with closing((yield from reached(self._settings, self._connect))):
            yield from self._registered.check()

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets: the queues of the settings."""
        return [self._queue(name).described() for name in self._settings.queues if wanted(name, patterns)]

    def _queue(self, name: str) -> Queue:
        return Queue.of(name, self._settings.said(name), self._registered.registry)

    def read(self, read: Read) -> Iterator[Batch]:
        """Raises InvalidPlanError: a queue gives each message once and has no end."""
        raise InvalidPlanError(
            f"the queue of {read.dataset.name!r} gives each message once and has no end", path=read.dataset.name,
            hint="use --mode stream",
        )  # fmt: skip

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        from tongqu.kit.handed.log import HandedLog

        return HandedLog(self._settings, self._connect, name, [self._queue(dataset.name) for dataset in datasets])

    def close(self) -> None:
        """See Source.close."""
        self._registered.close()


def reached(settings: HandedSettings, connect: Connect) -> Generator[str, None, Line]:
    """The stages of a check up to the login; returns the connection, which the caller closes."""
    host, port = settings.host, settings.port
    yield from settings.egress((host, port)).stages(host, port, seconds=settings.connect_seconds)
    line = connect()
    try:
        yield f"tls: {line.secured or 'not used'}"
        yield f"login ({line.product})"
    except BaseException:
        line.close()
        raise
    return line
