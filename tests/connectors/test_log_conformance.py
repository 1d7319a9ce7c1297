"""Every log that can be followed, held to the same promises: one line each."""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg
import pymysql
import pytest

from tongqu.core.data import Position
from tongqu.testing.conformance.following import following


def _postgres(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(statement.encode())


def _mysql(url: str, statement: str) -> None:
    parts = urlsplit(url)
    session = pymysql.connect(
        host=parts.hostname or "", port=parts.port or 3306, user=parts.username, password=parts.password or "",
        database=parts.path[1:], autocommit=True,
    )  # fmt: skip
    with session, session.cursor() as cursor:
        cursor.execute(statement)


def _beyond(position: Position) -> Position:
    """Offsets and numbers of messages that nobody has sent."""
    return {name: _more(value) for name, value in position.items()}


def _more(value: object) -> object:
    if isinstance(value, dict):
        return {name: _more(inner) for name, inner in value.items()}
    return value + 1_000_000 if isinstance(value, int) else value


def _behind(position: Position) -> Position:
    """Behind all entries that streams will ever have."""
    return {"streams": {name: {**place, "at": "9999999999999-0"} for name, place in position["streams"].items()}}


def _amqp1(request: pytest.FixtureRequest) -> str:
    """A prefix of queues in RabbitMQ below which there is one for items."""
    url, server = request.getfixturevalue("rabbitmq_url"), request.getfixturevalue("rabbitmq_server")
    address, _, prefix = url.replace("amqp://", "amqp1://").partition("?prefix=")
    server.queue(f"{prefix}items", "classic")
    return f"{address}?prefix=/amq/queue/{prefix}"


TestPostgresLog = following(
    "postgres",
    lambda request: request.getfixturevalue("pg_url"),
    lost=lambda position: {**position, "system": "1234"},
    sql=_postgres,
)
TestMysqlLog = following(
    "mysql",
    lambda request: request.getfixturevalue("mysql_url"),
    lost=lambda position: {**position, "server": "999", "gtid": "0-1-999999999"},
    sql=_mysql,
)
TestQueueLog = following(
    "queue",
    lambda request: f"queue:{request.getfixturevalue('tmp_path')}/place.queue",
    lost=lambda position: {**position, "queue": "another"},
)
TestKafkaLog = following("kafka", lambda request: request.getfixturevalue("kafka_url"), lost=_beyond)
TestKafkaQueueLog = following(
    "kafka", lambda request: f"{request.getfixturevalue('kafka_url')}?queue=one", lost=_beyond
)
TestNatsLog = following("nats", lambda request: request.getfixturevalue("nats_url"), lost=_beyond)
TestRabbitmqLog = following(
    "rabbitmq", lambda request: f"{request.getfixturevalue('rabbitmq_url')}&kind=stream", lost=_beyond
)
TestRedisLog = following("redis", lambda request: request.getfixturevalue("redis_url"), lost=_behind)
HANDED = {"queues": {"items": {"fields": {"id": "int64", "v": "string"}, "key": ["id"]}}, "quiet_seconds": 8.0}
"""So long a queue is silent before it is taken for empty: no machine is that slow."""
TestStompLog = following("stomp", lambda request: request.getfixturevalue("activemq_url"), settings=HANDED)
TestAmqp1Log = following("amqp1", _amqp1, settings=HANDED)
TestRabbitmqQueueLog = following("rabbitmq", lambda request: request.getfixturevalue("rabbitmq_url"))


def _no_sql(url: str, statement: str) -> None:
    raise AssertionError(f"{url} takes no {statement}")


TestMongodbLog = following(
    "mongodb",
    lambda request: request.getfixturevalue("mongodb_url"),
    lost=lambda position: {**position, "set": "another"},
    sql=_no_sql,
    without=(
        "test_a_changed_key_is_a_delete_and_a_new_row",  # _id cannot change
        "test_an_emptied_table_is_told",  # there is no TRUNCATE: each delete is in the log
        "test_a_new_column_is_told_before_its_rows",  # documents with new fields go to quarantine
    ),
)
