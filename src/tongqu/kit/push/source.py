"""Reads systems that push: what connectors of such systems are built from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Read
from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.core.log import Log
from tongqu.kit.http.client import Http
from tongqu.kit.patterns import nearest, wanted
from tongqu.kit.push.log import Pushed, PushLog
from tongqu.kit.push.receiver import Feed, Patience, Receiver
from tongqu.kit.push.settings import PushedSettings, PushSettings
from tongqu.kit.push.spool import Spool


class PushSource(Source):
    """Streams of one connection as datasets, which can only be followed. A connector gives the `feed` of a stream."""

    def __init__(self, settings: PushSettings, streams: Mapping[str, PushedSettings]):
        self._settings, self._streams = settings, streams
        self._folder: Path | None = None
        self._http: Http | None = None

    @abstractmethod
    def feed(self, name: str, http: Http) -> Feed:
        """The stream of a dataset."""

    def lodge(self, folder: Path) -> None:
        """See Source.lodge: what came is kept here."""
        self._folder = folder

    @property
    def http(self) -> Http:
        """The connection; its calls may last for ever."""
        if self._http is None:
            timeouts = self._settings.timeouts.model_copy(update={"call_seconds": 1e9, "bytes_per_second": 0})
            own = self._settings.limits
            limits = own.model_copy(
                update={"concurrency": max(own.concurrency, len(self._streams) + 1), "stream_bytes": 1 << 60}
            )
            settings = self._settings.model_copy(update={"timeouts": timeouts, "limits": limits})
            self._http = Http(settings, folder=self._folder)
        return self._http

    def check(self) -> Iterator[str]:
        """See Source.check: whether the other side sends anything is seen when it is followed."""
        yield from self.http.stages()

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets: the streams of the settings."""
        return [
            Pushed(name, one, one.metadata).dataset() for name, one in self._streams.items() if wanted(name, patterns)
        ]

    def read(self, read: Read) -> Iterator[Batch]:
        """Raises InvalidPlanError: a stream has no end at which it would be whole."""
        raise InvalidPlanError(
            f"{read.dataset.name!r} is pushed to us and can only be followed", path=read.dataset.name,
            hint="use --mode stream",
        )  # fmt: skip

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        if len(datasets) != 1:
            raise InvalidPlanError(f"each stream is followed by itself, not {len(datasets)} together")
        stream = datasets[0].name
        if stream not in self._streams:
            raise NotFoundError(f"there is no stream {stream!r}", hint=nearest(stream, list(self._streams)))
        if self._folder is None:
            raise InvalidPlanError("what is pushed is kept in the project's home, and there is none here")
        spool = Spool(self._folder, self._settings.keep_days)
        patience = Patience(self._settings.first_seconds, self._settings.longest_seconds)
        pushed = Pushed(stream, self._streams[stream], self._streams[stream].metadata)
        return PushLog(spool, name, pushed, lambda: Receiver(spool, stream, self.feed(stream, self.http), patience))

    def close(self) -> None:
        """See Source.close."""
        if self._http is not None:
            self._http.close()
            self._http = None
