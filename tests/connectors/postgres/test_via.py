"""PostgreSQL behind hops: every driver goes through them, and certificates are still those of the real host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tongqu.connectors.postgres.settings import PostgresSettings, from_url
from tongqu.connectors.postgres.source import PostgresSource
from tongqu.core.data import Read, Split
from tongqu.core.errors import ConnectError
from tongqu.core.select import Column, Select
from tongqu.kit.egress.settings import HopSettings
from tongqu.testing.services import Postgres, start_postgres
from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.forward_proxies import ForwardProxy
from tongqu.testing.services.process import account, give, new_folder


@pytest.fixture(scope="module")
def authority() -> Authority:
    """A certificate authority in a folder that the server's account can read."""
    folder = new_folder("tongqu-tls-", account("postgres", "nobody"))
    folder.chmod(0o755)
    return Authority(folder)


@pytest.fixture(scope="module")
def server(authority: Authority, postgres: Postgres) -> Iterator[Postgres]:
    """PostgreSQL that is called db.plant; `postgres` only says whether servers can be had at all."""
    del postgres
    file = authority.issue("server", hosts=("db.plant",))
    file.chmod(0o600)
    give(file, account("postgres", "nobody"))
    with start_postgres({"ssl": True, "ssl_cert_file": str(file), "ssl_key_file": str(file)}) as running:
        yield running


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    """A proxy that knows where db.plant is."""
    with ForwardProxy(names={"db.plant": "127.0.0.1", "other.plant": "127.0.0.1"}) as running:
        yield running


def through(server: Postgres, authority: Authority, proxy: ForwardProxy, host: str) -> PostgresSettings:
    """The server's settings by another name and through the proxy, its certificate fully checked."""
    way = {"host": host, "via": (HopSettings.parse({"proxy": proxy.url}),)}
    tls = {"tls": "verify-full", "ca_file": str(authority.ca_file)}
    return from_url(server.database()).model_copy(update={**way, **tls})


def test_all_drivers_go_through(server: Postgres, authority: Authority, proxy: ForwardProxy) -> None:
    source = PostgresSource(through(server, authority, proxy, "db.plant"))
    try:
        assert list(source.check())[:4] == ["hop 1 proxy:127.0.0.1", "tcp", "tls", "login"]
        source._db().run("CREATE TABLE t AS SELECT g AS id, repeat('x', 100) AS v FROM generate_series(1, 5000) g")
        dataset = source.datasets(["t"])[0]
        read = Read(dataset, Split("0", "t"))
        assert sum(batch.rows.num_rows for batch in source.read(read)) == 5000
        copied = source.copy_out(read, Select((Column("id"), Column("v"))), source.formats[0])
        assert sum(len(block) for data in copied for block in data.chunks) > 500_000
    finally:
        source.close()
    assert len(proxy.asked) >= 3
    assert set(proxy.asked) == {f"db.plant:{server.port}"}


def test_the_certificate_is_checked_against_the_real_host(
    server: Postgres, authority: Authority, proxy: ForwardProxy
) -> None:
    source = PostgresSource(through(server, authority, proxy, "other.plant"))
    with pytest.raises(ConnectError, match="does not match host name"):
        list(source.check())
    source.close()


def test_a_proxy_that_is_gone_is_named(server: Postgres, authority: Authority, tmp_path: Path) -> None:
    with ForwardProxy() as proxy:
        settings = through(server, authority, proxy, "db.plant")
    source = PostgresSource(settings)
    with pytest.raises(ConnectError, match=r"hop 1 proxy:127\.0\.0\.1: tcp: .* does not answer"):
        list(source.check())
    source.close()
