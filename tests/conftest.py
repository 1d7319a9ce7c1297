"""Fixtures that give tests real servers, started on first use, and a fresh database in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import pytest

from tongqu.testing import graphql_place, odata_place, rest_place, soap_place
from tongqu.testing.services import (
    S3,
    Activemq,
    Clickhouse,
    Dovecot,
    Elasticsearch,
    Kafka,
    MariaDB,
    Mongodb,
    Mosquitto,
    Nats,
    Postgres,
    Rabbitmq,
    Redis,
    Samba,
    Service,
    ServiceMissingError,
    Sshd,
    Vsftpd,
    Webdav,
    start_activemq,
    start_clickhouse,
    start_dovecot,
    start_elasticsearch,
    start_kafka,
    start_mariadb,
    start_mongodb,
    start_mosquitto,
    start_nats,
    start_postgres,
    start_rabbitmq,
    start_redis,
    start_s3,
    start_samba,
    start_sshd,
    start_vsftpd,
    start_webdav,
)
from tongqu.testing.services.odata_api import ODataApi
from tongqu.testing.services.vendor_api import VendorApi

S = TypeVar("S", bound=Service)

pytest_plugins = ["tongqu.testing.tested", "tongqu.testing.proving"]

_LABELS = pytest.StashKey[list[str]]()
_SENT = "tongqu_services"  # key under which an xdist worker hands its labels to the controller


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LABELS] = []


def pytest_report_header() -> str:
    rule = "a missing one fails its tests" if _required() else "a missing one skips its tests"
    return f"services: started on first use, {rule}; labels and versions are in the summary"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if labels := config.stash[_LABELS]:
        terminalreporter.section("services")
        for label in sorted(set(labels)):
            terminalreporter.write_line(label)


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_SENT] = session.config.stash[_LABELS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    config: pytest.Config = getattr(node, "config")  # noqa: B009 - xdist's controller type has no stubs
    config.stash[_LABELS].extend(getattr(node, "workeroutput", {}).get(_SENT, []))


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[Postgres]:
    """Debian's PostgreSQL, shared by the tests of this process."""
    yield from _running(start_postgres, pytestconfig)


@pytest.fixture(scope="session")
def postgres18(pytestconfig: pytest.Config) -> Iterator[Postgres]:
    """PostgreSQL 18 from a PyPI wheel, shared by the tests of this process."""
    yield from _running(lambda: start_postgres(version="18"), pytestconfig)


@pytest.fixture(scope="session")
def mariadb(pytestconfig: pytest.Config) -> Iterator[MariaDB]:
    """Debian's MariaDB, shared by the tests of this process."""
    yield from _running(start_mariadb, pytestconfig)


@pytest.fixture(scope="session")
def dovecot(pytestconfig: pytest.Config) -> Iterator[Dovecot]:
    """Dovecot, shared by the tests of this process; each test takes users of its own."""
    yield from _running(start_dovecot, pytestconfig)


@pytest.fixture(scope="session")
def sshd(pytestconfig: pytest.Config) -> Iterator[Sshd]:
    """OpenSSH with SFTP and forwarding, shared by the tests of this process; see `Sshd.key_file` and `fingerprint`."""
    yield from _running(start_sshd, pytestconfig)


@pytest.fixture(scope="session")
def redis(pytestconfig: pytest.Config) -> Iterator[Redis]:
    """Redis, shared by the tests of this process; each test takes a database of its own."""
    yield from _running(start_redis, pytestconfig)


@pytest.fixture
def redis_url(redis: Redis) -> Iterator[str]:
    """URL of an empty database in Redis."""
    yield from _fresh(redis)


@pytest.fixture(scope="session")
def vsftpd(pytestconfig: pytest.Config) -> Iterator[Vsftpd]:
    """vsftpd with FTP and FTPS, shared by the tests of this process."""
    yield from _running(start_vsftpd, pytestconfig)


@pytest.fixture(scope="session")
def samba(pytestconfig: pytest.Config) -> Iterator[Samba]:
    """Samba with one share, shared by the tests of this process."""
    yield from _running(start_samba, pytestconfig)


@pytest.fixture(scope="session")
def webdav(pytestconfig: pytest.Config) -> Iterator[Webdav]:
    """A WebDAV server (wsgidav), shared by the tests of this process."""
    yield from _running(start_webdav, pytestconfig)


@pytest.fixture(scope="session")
def s3(pytestconfig: pytest.Config) -> Iterator[S3]:
    """A mock of S3 (moto), shared by the tests of this process."""
    yield from _running(start_s3, pytestconfig)


@pytest.fixture(scope="session")
def clickhouse(pytestconfig: pytest.Config) -> Iterator[Clickhouse]:
    """Debian's ClickHouse, which is of 2018, shared by the tests of this process."""
    yield from _running(start_clickhouse, pytestconfig)


@pytest.fixture
def clickhouse_url(clickhouse: Clickhouse) -> Iterator[str]:
    """URL of a fresh database in ClickHouse, dropped after the test."""
    yield from _fresh(clickhouse)


@pytest.fixture(scope="session")
def mongodb(pytestconfig: pytest.Config) -> Iterator[Mongodb]:
    """SecantusDB, which speaks MongoDB's protocol, shared by the tests of this process."""
    yield from _running(start_mongodb, pytestconfig)


@pytest.fixture
def mongodb_url(mongodb: Mongodb) -> Iterator[str]:
    """URL of a fresh database in SecantusDB, dropped after the test."""
    yield from _fresh(mongodb)


@pytest.fixture(scope="session")
def elasticsearch_server(pytestconfig: pytest.Config) -> Iterator[Elasticsearch]:
    """noida-db, which speaks Elasticsearch's protocol, shared by the tests of this process."""
    yield from _running(start_elasticsearch, pytestconfig)


@pytest.fixture
def elasticsearch(elasticsearch_server: Elasticsearch) -> Iterator[Elasticsearch]:
    """noida-db without any index."""
    elasticsearch_server.mend()
    yield elasticsearch_server
    elasticsearch_server.mend()
    elasticsearch_server.drop("")


@pytest.fixture(scope="session")
def kafka_server(pytestconfig: pytest.Config) -> Iterator[Kafka]:
    """noida-db, which speaks Kafka's protocol, shared by the tests of this process."""
    yield from _running(start_kafka, pytestconfig)


@pytest.fixture
def kafka_url(kafka_server: Kafka) -> Iterator[str]:
    """URL of a fresh prefix of topics in noida-db, whose topics are deleted after the test."""
    yield from _fresh(kafka_server)


@pytest.fixture(scope="session")
def nats_server(pytestconfig: pytest.Config) -> Iterator[Nats]:
    """NATS with JetStream, shared by the tests of this process."""
    yield from _running(start_nats, pytestconfig)


@pytest.fixture
def nats_url(nats_server: Nats) -> Iterator[str]:
    """URL of a fresh prefix of streams in NATS, whose streams are deleted after the test."""
    yield from _fresh(nats_server)


@pytest.fixture(scope="session")
def mosquitto_server(pytestconfig: pytest.Config) -> Iterator[Mosquitto]:
    """Mosquitto, shared by the tests of this process."""
    yield from _running(start_mosquitto, pytestconfig)


@pytest.fixture
def mqtt_url(mosquitto_server: Mosquitto) -> Iterator[str]:
    """URL of a topic in Mosquitto that nobody has used."""
    yield from _fresh(mosquitto_server)


@pytest.fixture(scope="session")
def activemq(pytestconfig: pytest.Config) -> Iterator[Activemq]:
    """ActiveMQ, shared by the tests of this process."""
    yield from _running(start_activemq, pytestconfig)


@pytest.fixture
def activemq_url(activemq: Activemq) -> Iterator[str]:
    """URL of a fresh prefix of queues in ActiveMQ."""
    yield from _fresh(activemq)


@pytest.fixture(scope="session")
def rabbitmq_server(pytestconfig: pytest.Config) -> Iterator[Rabbitmq]:
    """RabbitMQ, shared by the tests of this process."""
    yield from _running(start_rabbitmq, pytestconfig)


@pytest.fixture
def rabbitmq_url(rabbitmq_server: Rabbitmq) -> Iterator[str]:
    """URL of a fresh prefix of queues in RabbitMQ."""
    yield from _fresh(rabbitmq_server)


@pytest.fixture
def pg_url(postgres: Postgres) -> Iterator[str]:
    """URL of a fresh database in PostgreSQL, dropped after the test."""
    yield from _fresh(postgres)


@pytest.fixture
def pg18_url(postgres18: Postgres) -> Iterator[str]:
    """URL of a fresh database in PostgreSQL 18, dropped after the test."""
    yield from _fresh(postgres18)


@pytest.fixture
def mysql_url(mariadb: MariaDB) -> Iterator[str]:
    """URL of a fresh database in MariaDB, dropped after the test."""
    yield from _fresh(mariadb)


def _required() -> bool:
    return os.environ.get("CI") == "true" or os.environ.get("TONGQU_REQUIRE_SERVICES") == "1"


def _running(start: Callable[[], S], config: pytest.Config) -> Iterator[S]:
    try:
        service = start()
    except ServiceMissingError as error:
        reason = f"{error}; {error.hint}"
        if _required():
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    config.stash[_LABELS].append(service.label)
    with service:
        yield service


def _fresh(service: Service) -> Iterator[str]:
    service.mend()  # a test before may have killed or paused it
    url = service.database()
    yield url
    service.mend()
    service.drop(unquote(urlsplit(url).path[1:]))


@pytest.fixture
def odata_tables() -> Iterator[ODataApi]:
    """An OData service (mock) without any entity set."""
    with ODataApi() as api, odata_place.PLACES.running(api.root, api):
        yield api


@pytest.fixture
def soap_tables() -> Iterator[soap_place.Tables]:
    """A SOAP service (mock) without any table."""
    with soap_place.Tables() as api, soap_place.PLACES.running(f"{api.url}/t", api):
        yield api


@pytest.fixture
def graphql_tables() -> Iterator[graphql_place.Tables]:
    """A GraphQL API (mock) without any table."""
    with graphql_place.Tables() as api, graphql_place.PLACES.running(api.url, api):
        yield api


@pytest.fixture
def vendor_api() -> Iterator[VendorApi]:
    """A vendor's REST API (mock) without any table."""
    with VendorApi() as api, rest_place.PLACES.running(api.url, api):
        yield api
