"""A fresh prefix of topics, and what tests do to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import pytest

from tongqu.connectors.kafka.settings import KafkaSettings, from_url
from tongqu.connectors.kafka.source import KafkaSource
from tongqu.core.data import Batch, Position
from tongqu.core.log import Follow, Log
from tongqu.testing.services import Kafka

DEADLINE = 60.0


@dataclass
class Topics:
    """The topics of one test."""

    server: Kafka
    url: str

    @property
    def prefix(self) -> str:
        return self.url.rpartition("/")[2]

    def settings(self, **more: Any) -> KafkaSettings:
        """The connection, with more settings."""
        return KafkaSettings.parse(from_url(self.url).model_dump() | more)

    def make(self, name: str, partitions: int = 1) -> str:
        """A topic below the prefix; its whole name."""
        self.server.topic(self.prefix + name, partitions)
        return self.prefix + name

    @contextmanager
    def source(self, **more: Any) -> Iterator[KafkaSource]:
        made = KafkaSource(self.settings(**more))
        try:
            yield made
        finally:
            made.close()

    @contextmanager
    def log(self, *names: str, **more: Any) -> Iterator[Log]:
        """The log of some topics."""
        with self.source(**more) as source:
            made = source.log("test", [source.datasets([name])[0] for name in names])
            try:
                yield made
            finally:
                made.close()


def follow(log: Log, after: Position, rows: int = 1, batch_rows: int = 1000) -> list[Batch]:
    """Batches until so many rows and bad rows have come."""
    found: list[Batch] = []
    asked = Follow(after, batch_rows=batch_rows)
    deadline = monotonic() + DEADLINE
    reading = log.read(asked)
    try:
        for batch in reading:
            if batch.kind != "heartbeat":
                found.append(batch)
            if sum(one.rows.num_rows + len(one.bad) for one in found) >= rows and found[-1].position is not None:
                return found
            assert monotonic() < deadline, f"only {found}"
    finally:
        asked.stop.set()
        reading.close()  # type: ignore[attr-defined]  # a generator
    raise AssertionError("the log ended by itself")


@pytest.fixture
def topics(kafka_server: Kafka, kafka_url: str) -> Topics:
    return Topics(kafka_server, kafka_url)
