"""Starts private ClickHouse servers from Debian's package."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tongqu.testing.services.install import program
from tongqu.testing.services.process import HOST, Account, account, free_port, give, new_folder
from tongqu.testing.services.service import Service

if TYPE_CHECKING:
    from clickhouse_driver import Client

_CONFIG = """<?xml version="1.0"?>
<yandex>
  <logger><level>warning</level><console>1</console></logger>
  <listen_host>{host}</listen_host>
  <tcp_port>{port}</tcp_port>
  <http_port>{http}</http_port>
  <path>{folder}/data/</path>
  <tmp_path>{folder}/tmp/</tmp_path>
  <users_config>{folder}/users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <mark_cache_size>33554432</mark_cache_size>
  <max_concurrent_queries>50</max_concurrent_queries>
</yandex>
"""
_USERS = """<?xml version="1.0"?>
<yandex>
  <profiles><default><max_memory_usage>1000000000</max_memory_usage></default></profiles>
  <quotas><default></default></quotas>
  <users><default><password>{password}</password><networks><ip>127.0.0.1/32</ip></networks>
    <profile>default</profile><quota>default</quota></default></users>
</yandex>
"""


class Clickhouse(Service):
    """A ClickHouse whose user `default` logs in with a password, by the native protocol."""

    name = "ClickHouse"
    _home = "default"
    _end = signal.SIGTERM
    _throw_away = signal.SIGKILL

    def url_of(self, database: str) -> str:
        return f"clickhouse://default:{self._password}@{self.host}:{self.port}/{quote(database, safe='')}"

    def drop(self, database: str) -> None:
        """Drops a database; harmless if it does not exist."""
        with self._session() as session:
            session.execute(f"DROP DATABASE IF EXISTS `{database}`")

    def _create(self, database: str) -> None:
        with self._session() as session:
            session.execute(f"CREATE DATABASE `{database}`")

    def _command(self, port: int) -> Sequence[str | Path]:
        config = self._folder / "config.xml"
        config.write_text(_CONFIG.format(host=HOST, port=port, http=free_port(), folder=self._folder))
        users = self._folder / "users.xml"
        users.write_text(_USERS.format(password=self._password))
        for path in (config, users):
            path.chmod(0o600)
            give(path, self._owner)
        return [program("clickhouse-server", "clickhouse-server"), f"--config-file={config}"]

    def _probe(self) -> str:
        with self._session() as session:
            return str(session.execute("SELECT version()")[0][0])

    def _not_ready(self) -> type[Exception]:
        from clickhouse_driver.errors import Error

        error: type[Exception] = Error
        return error

    @contextlib.contextmanager
    def _session(self) -> Iterator[Client]:
        from clickhouse_driver import Client

        known: dict[str, Any] = {"connect_timeout": 5, "send_receive_timeout": 30}
        session = Client(host=self.host, port=self.port, password=self._password, **known)
        try:
            yield session
        finally:
            session.disconnect()


def start_clickhouse() -> Clickhouse:
    """Starts a ClickHouse with an empty data folder; returns when a login works.

    ServiceMissingError when it is not installed, ServiceError when it does not answer within 60 seconds.
    """
    program("clickhouse-server", "clickhouse-server")
    owner: Account | None = account("clickhouse", "nobody")
    folder = new_folder("tongqu-clickhouse-", owner)
    return Clickhouse(folder, owner)._start()
