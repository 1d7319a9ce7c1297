"""A fresh prefix of queues, and what tests do to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import Any

import pytest

from tongqu.connectors.rabbitmq.settings import RabbitmqSettings, from_url
from tongqu.connectors.rabbitmq.source import RabbitmqSource
from tongqu.core.data import Batch, Position
from tongqu.core.errors import ConnectError
from tongqu.core.log import Follow, Log
from tongqu.testing.services import Rabbitmq

DEADLINE = 60.0


@dataclass
class Queues:
    """The queues of one test."""

    server: Rabbitmq
    url: str

    @property
    def prefix(self) -> str:
        return self.url.rpartition("=")[2]

    def settings(self, **more: Any) -> RabbitmqSettings:
        """The connection, with more settings."""
        return RabbitmqSettings.parse(from_url(self.url).model_dump() | more)

    def make(self, name: str, kind: str = "quorum", **arguments: Any) -> str:
        """A queue below the prefix; its whole name."""
        self.server.queue(self.prefix + name, kind, **arguments)
        return self.prefix + name

    @contextmanager
    def source(self, **more: Any) -> Iterator[RabbitmqSource]:
        made = RabbitmqSource(self.settings(**more))
        try:
            yield made
        finally:
            made.close()

    @contextmanager
    def log(self, *names: str, **more: Any) -> Iterator[Log]:
        """The log of some queues."""
        with self.source(**more) as source:
            made = source.log("test", [source.datasets([name])[0] for name in names])
            try:
                yield made
            finally:
                made.close()


def follow(log: Log, after: Position, rows: int = 1, until: Position | None = None) -> list[Batch]:
    """Batches until so many rows and bad rows have come, or the log has ended at `until`."""
    found: list[Batch] = []
    asked = Follow(after, until=until, batch_rows=1000)
    deadline = monotonic() + DEADLINE
    reading = log.read(asked)
    try:
        for batch in reading:
            found.append(batch)
            enough = sum(one.rows.num_rows + len(one.bad) for one in found) >= rows
            if until is None and enough and batch.position is not None:
                return found
            assert monotonic() < deadline, f"only {found}"
    finally:
        asked.stop.set()
        reading.close()  # type: ignore[attr-defined]  # a generator
    assert until is not None, "the log ended by itself"
    return found


def ids(batches: list[Batch]) -> list[int]:
    """The column id of all rows."""
    return [row["id"] for batch in batches for row in batch.rows.to_pylist()]


def eventually(looked: Callable[[], object]) -> None:
    """Wait until something holds."""
    pause, deadline = Event(), monotonic() + DEADLINE
    while not looked():
        assert monotonic() < deadline, "it never held"
        pause.wait(0.05)


def again(work: Callable[[], Any]) -> Any:
    """The result of some work, tried until the server, which has just come back, has its queues again."""
    pause, deadline = Event(), monotonic() + DEADLINE
    while True:
        try:
            return work()
        except ConnectError:
            assert monotonic() < deadline, "the server does not come back"
            pause.wait(0.2)


@pytest.fixture
def queues(rabbitmq_server: Rabbitmq, rabbitmq_url: str) -> Queues:
    return Queues(rabbitmq_server, rabbitmq_url)
