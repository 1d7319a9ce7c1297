"""What sinks of messages have in common: modes, a schema registry, and a connection for each thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tongqu.core.data import WriteMode
from tongqu.kit.messages.registry import SchemaRegistry
from tongqu.kit.messages.source import Registered
from tongqu.kit.remote.effect import Op
from tongqu.kit.remote.sink import RemoteSink


class MessageSink(RemoteSink):
    """See RemoteSink. `append` writes messages; where the envelope tells changes, `upsert` does, and tells deletes."""

    def __init__(self, settings: Any):
        super().__init__(settings.calls)
        self.name = settings.display()
        self._settings = settings
        self._registered = Registered(settings.registry)

    def lodge(self, folder: Path) -> None:
        """See Sink.lodge."""
        super().lodge(folder)
        self._registered.lodge(folder)

    @property
    def registry(self) -> SchemaRegistry | None:
        """The schema registry, if the connection names one."""
        return self._registered.registry

    def modes(self) -> tuple[WriteMode, ...]:
        """See Sink.modes."""
        return (WriteMode.APPEND, WriteMode.UPSERT)

    def close(self) -> None:
        """See Sink.close."""
        super().close()
        self._registered.close()


def ops(envelope: str) -> frozenset[Op]:
    """What messages in an envelope can tell."""
    return frozenset({Op.CREATE} if envelope == "plain" else {Op.CREATE, Op.UPSERT, Op.DELETE})


class Closable(Protocol):
    """What has an end."""

    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class Connections(Generic[T]):
    """A connection for each thread, opened when it is first asked for."""

    def __init__(self, connect: Callable[[], T]):
        self._connect = connect
        self._own = threading.local()
        self._opened: list[T] = []
        self._lock = threading.Lock()

    def mine(self) -> T:
        """This thread's connection."""
        made: T | None = getattr(self._own, "made", None)
        if made is None:
            made = self._own.made = self._connect()
            with self._lock:
                self._opened.append(made)
        return made

    def drop(self) -> None:
        """This thread's connection is of no use any more: it is closed, and the next call makes another."""
        made: T | None = getattr(self._own, "made", None)
        self._own.made = None
        if made is not None:
            made.close()
            with self._lock:
                if made in self._opened:
                    self._opened.remove(made)

    def close(self) -> None:
        """Close all; may be called twice."""
        with self._lock:
            opened, self._opened = self._opened, []
        for one in opened:
            one.close()
        self._own = threading.local()
