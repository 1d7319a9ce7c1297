"""What tests of brokers do to all of them: follow a log, and look at what came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import Any, ClassVar

from tongqu.core.connector import Connector, Source
from tongqu.core.data import Batch, Position
from tongqu.core.errors import ConnectError, NotFoundError
from tongqu.core.log import Follow, Log

DEADLINE = 60.0


@dataclass
class Bus:
    """The datasets of one test in a broker, of which nobody else knows."""

    server: Any
    url: str

    connector: ClassVar[Connector]

    def settings(self, **more: Any) -> Any:
        """The connection, with more settings."""
        assert self.connector.from_url is not None
        told: Any = self.connector.from_url(self.url)
        return type(told).parse(told.model_dump() | more)

    @contextmanager
    def source(self, **more: Any) -> Iterator[Source]:
        assert self.connector.source is not None
        made = self.connector.source(self.settings(**more))
        try:
            yield made
        finally:
            made.close()

    @contextmanager
    def log(self, *names: str, **more: Any) -> Iterator[Log]:
        """The log of some datasets."""
        with self.source(**more) as source:
            made = source.log("test", [source.datasets([name])[0] for name in names])
            try:
                yield made
            finally:
                made.close()


def rows(first: int, last: int) -> list[bytes]:
    """Messages of rows with an id and a text."""
    return [f'{{"id": {number}, "v": "v{number}"}}'.encode() for number in range(first, last + 1)]


def follow(
    log: Log, after: Position, rows: int = 1, until: Position | None = None, batch_rows: int = 1000
) -> list[Batch]:
    """Batches until so many rows and bad rows have come, or the log has ended at `until`."""
    found: list[Batch] = []
    asked = Follow(after, until=until, batch_rows=batch_rows)
    deadline = monotonic() + DEADLINE
    reading = log.read(asked)
    try:
        for batch in reading:
            if until is not None or batch.kind != "heartbeat":
                found.append(batch)
            enough = sum(one.rows.num_rows + len(one.bad) for one in found) >= rows
            if until is None and enough and found[-1].position is not None:
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
        except (ConnectError, NotFoundError):
            assert monotonic() < deadline, "the server does not come back"
            pause.wait(0.2)
