"""Starts private Redis servers, without persistence, for what several replicas share."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from tongqu.testing.services.install import program
from tongqu.testing.services.process import new_folder
from tongqu.testing.services.service import Service


class Redis(Service):
    """Redis with a password. A "database" is one of its numbered ones, handed out in turn, emptied before."""

    name: ClassVar[str] = "Redis"
    _home: ClassVar[str] = "0"
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    def url_of(self, database: str) -> str:
        return f"redis://:{self._password}@{self.host}:{self.port}/{database}"

    def database(self, name: str | None = None) -> str:
        """Empties a numbered database (the next one if None) and returns its URL."""
        self._last = (getattr(self, "_last", 0) % 15) + 1
        chosen = name or str(self._last)
        self.drop(chosen)
        return self.url_of(chosen)

    def drop(self, database: str) -> None:
        """Empties a numbered database."""
        with self._client(database) as client:
            client.flushdb()

    def _create(self, database: str) -> None:
        self.drop(database)

    def _command(self, port: int) -> Sequence[str | Path]:
        return [
            program("redis-server", "redis-server"), "--bind", self.host, "--port", str(port), "--requirepass",
            self._password, "--save", "", "--appendonly", "no", "--dir", self._folder, "--databases", "16",
        ]  # fmt: skip

    def _probe(self) -> str:
        with self._client(self._home) as client:
            return str(client.info("server")["redis_version"])

    def _client(self, database: str) -> Any:
        import redis

        return redis.Redis.from_url(self.url_of(database), socket_timeout=5)

    def _not_ready(self) -> type[Exception]:
        from redis.exceptions import RedisError

        return RedisError


def start_redis() -> Redis:
    """Starts Redis; ServiceMissingError when it is not installed, ServiceError when it does not answer in time."""
    program("redis-server", "redis-server")
    return Redis(new_folder("tongqu-redis-", None), None)._start()
