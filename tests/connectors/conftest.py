"""Places that are reached by a driver which is not the system's own, and mailboxes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tongqu.testing.letters import letter
from tongqu.testing.pushing import Pushing, event_stream, websockets_server
from tongqu.testing.services import Dovecot


def _by_odbc(url: str, driver: str) -> str:
    parts = urlsplit(url)
    return f"odbc://{parts.netloc}{parts.path}?driver={driver.replace(' ', '%20')}"


@pytest.fixture
def odbc_pg_url(pg_url: str) -> str:
    """A fresh PostgreSQL database by psqlODBC."""
    return _by_odbc(pg_url, "PostgreSQL Unicode")


@pytest.fixture
def odbc_mysql_url(mysql_url: str) -> str:
    """A fresh MariaDB database by MariaDB Connector/ODBC."""
    return _by_odbc(mysql_url, "MariaDB Unicode")


@pytest.fixture
def jdbc_pg_url(pg_url: str) -> str:
    """A fresh PostgreSQL database by pgJDBC."""
    from tongqu.testing.services.install import program

    jar = program("/usr/share/java/postgresql.jar", "libpostgresql-jdbc-java")
    program("javac", "default-jdk-headless")
    return f"jdbc:{pg_url}?jar={jar}"


@pytest.fixture
def jdbc_mysql_url(mysql_url: str) -> str:
    """A fresh MariaDB database by MariaDB Connector/J."""
    from tongqu.testing.services.install import program

    jar = program("/usr/share/java/mariadb-java-client.jar", "libmariadb-java")
    program("javac", "default-jdk-headless")
    parts = urlsplit(mysql_url)
    return f"jdbc:mariadb://{parts.netloc}{parts.path}?jar={jar}"


@pytest.fixture
def imap_url(dovecot: Dovecot) -> str:
    """The inbox of a user of its own, with two messages."""
    user = f"u{secrets.token_hex(4)}"
    dovecot.put(user, letter("one"), letter("two", data_csv=b"id\n1\n"))
    return f"{dovecot.url_of(user)}/INBOX?security=none"


@pytest.fixture(scope="session")
def event_server() -> Iterator[Pushing]:
    """A server of an event stream."""
    with event_stream() as server:
        yield server


@pytest.fixture(scope="session")
def websocket_server() -> Iterator[Pushing]:
    """A server of WebSockets."""
    with websockets_server() as server:
        yield server
