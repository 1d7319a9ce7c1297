"""An empty database of streams, and what tests do to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.connectors.messages import Bus

from tongqu.connectors.redis import connector
from tongqu.testing.services import Redis


class Streams(Bus):
    """The streams of one test."""

    server: Redis
    connector = connector

    @contextmanager
    def client(self) -> Iterator[Any]:
        """The driver's client."""
        import redis

        with redis.Redis.from_url(self.url) as made:
            yield made

    def put(self, name: str, *values: bytes, **more: str) -> list[str]:
        """Appends entries with these values; their ids."""
        with self.client() as client:
            return [client.xadd(name, {"value": value, **more}).decode() for value in values]

    def held(self, name: str) -> list[dict[bytes, bytes]]:
        """The fields of all entries."""
        with self.client() as client:
            return [fields for _, fields in client.xrange(name)]


@pytest.fixture
def streams(redis: Redis, redis_url: str) -> Streams:
    return Streams(redis, redis_url)
