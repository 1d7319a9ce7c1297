"""A fresh prefix of streams, and what tests do to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import pytest

from tongqu.connectors.nats.settings import NatsSettings, from_url
from tongqu.connectors.nats.source import NatsSource
from tongqu.core.data import Batch, Position
from tongqu.core.log import Follow, Log
from tongqu.testing.services import Nats

DEADLINE = 60.0


@dataclass
class Streams:
    """The streams of one test."""

    server: Nats
    url: str

    @property
    def prefix(self) -> str:
        return self.url.rpartition("/")[2]

    def settings(self, **more: Any) -> NatsSettings:
        """The connection, with more settings."""
        return NatsSettings.parse(from_url(self.url).model_dump() | more)

    def make(self, name: str, *subjects: str, **config: Any) -> str:
        """A stream below the prefix; its whole name."""
        self.server.stream(self.prefix + name, *subjects, **config)
        return self.prefix + name

    @contextmanager
    def source(self, **more: Any) -> Iterator[NatsSource]:
        made = NatsSource(self.settings(**more))
        try:
            yield made
        finally:
            made.close()

    @contextmanager
    def log(self, *names: str, **more: Any) -> Iterator[Log]:
        """The log of some streams."""
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


@pytest.fixture
def streams(nats_server: Nats, nats_url: str) -> Streams:
    return Streams(nats_server, nats_url)
