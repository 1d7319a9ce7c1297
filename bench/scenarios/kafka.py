"""A topic of JSON into DuckDB and PostgreSQL, beside a client that only takes the messages, and PostgreSQL's bare COPY.

No Apache Kafka can be had here: the broker is noida-db, which speaks its protocol.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path

from bench.measure import Method, Row
from bench.scenarios.scenario import Scenario
from bench.world import World
from tongqu.testing.services import Kafka, start_kafka

_MESSAGES = 300_000
"""The broker answers with a whole partition, whatever the client said it would take: beyond 100 MB clients refuse."""
_TOPIC = "orders"
_AT_ONCE = 20_000
_BARE = """
import sys
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
options = {{"bootstrap.servers": {servers!r}, "group.id": "bare", "enable.auto.commit": False, "log_level": 0}}
consumer = Consumer(options)
consumer.assign([TopicPartition({topic!r}, 0, OFFSET_BEGINNING)])
taken = 0
while taken < {count}:
    taken += len(consumer.consume(10_000, 5.0))
consumer.close()
"""


def _message(number: int) -> bytes:
    """About 200 bytes."""
    row = {"id": number, "order_no": f"N{number:09d}", "customer": f"customer {number % 977}", "amount": number / 4,
           "qty": number % 100, "paid": number % 2 == 0, "at": 1_700_000_000_000 + number, "status": "released",
           "remark": f"remark of the order {number}"}  # fmt: skip
    return json.dumps(row).encode()


@cache
def _topic(world: World, count: int) -> tuple[Kafka, str]:
    """A broker with the messages, for as long as the process lives; and the URL of their prefix."""
    server = opened.enter_context(start_kafka())
    url = server.database("bench.")
    server.topic("bench." + _TOPIC)
    for first in range(0, count, _AT_ONCE):
        server.put("bench." + _TOPIC, *map(_message, range(first, min(first + _AT_ONCE, count))))
    return server, url


opened = ExitStack()
"""What lives until the process ends."""


def _rates(rows: list[Row], count: int) -> list[Row]:
    """The same rows, with messages a second as their value."""
    return [replace(row, value=count / row.seconds, told=f"{count / row.seconds:,.0f} messages/s") for row in rows]


def _relayed(world: World, others: list[Method], target: str, empty: Callable[[], None],
             counted: Callable[[], str]) -> list[Row]:  # fmt: skip
    count = min(_MESSAGES, world.rows)
    server, url = _topic(world, count)
    bare = world.folder / "bare_consume.py"
    bare.write_text(
        _BARE.format(servers=f"{server.host}:{server.port}", topic="bench." + _TOPIC, count=count), encoding="utf-8"
    )
    command = world.sync(url, target, f"--mode stream --until-caught-up --table {_TOPIC} --write append --restart")
    return _rates(
        world.compare(
            Method("confluent-kafka, messages taken and thrown away", f"{sys.executable} {bare}"),
            *others,
            Method("tongqu sync --mode stream", command, empty, counted, f"{count}|{count * (count - 1) // 2}"),
        ),
        count,
    )


def _into_duckdb(world: World) -> list[Row]:
    import duckdb

    file = world.folder / "relayed.duckdb"

    def counted() -> str:
        with duckdb.connect(str(file), read_only=True) as database:
            [found] = database.sql(f"SELECT count(*), sum(id)::bigint FROM {_TOPIC}").fetchall()
        return "|".join(map(str, found))

    def empty() -> None:
        for one in Path(file.parent).glob(file.name + "*"):
            one.unlink()

    return _relayed(world, [], f"duckdb:{file}", empty, counted)


def _into_postgres(world: World) -> list[Row]:
    world.sql("postgres", "DROP DATABASE IF EXISTS relayed WITH (FORCE)")
    world.postgres.database("relayed")
    bare, file = f"psql -qX -d relayed -c 'COPY bare FROM STDIN' < {world.folder}/relayed.tsv", "relayed.tsv"
    columns = "id bigint, order_no text, customer text, amount float8, qty int, paid bool, at bigint, status text"
    world.sql("relayed", f"CREATE TABLE bare ({columns}, remark text)")
    with (world.folder / file).open("w", encoding="utf-8") as out:
        for number in range(min(_MESSAGES, world.rows)):
            out.write("\t".join(map(str, json.loads(_message(number)).values())) + "\n")

    def empty() -> None:
        world.sql("relayed", f"DROP TABLE IF EXISTS {_TOPIC}")

    def counted() -> str:
        return world.sql("relayed", f"SELECT count(*), sum(id) FROM {_TOPIC}")

    def truncate() -> None:
        world.sql("relayed", "TRUNCATE bare")

    copy = Method(
        "PostgreSQL, COPY of the same rows", bare, truncate,
        lambda: world.sql("relayed", "SELECT count(*) FROM bare"), str(min(_MESSAGES, world.rows)),
    )  # fmt: skip
    return _relayed(world, [copy], world.url("relayed"), empty, counted)


SCENARIOS = [
    Scenario("kafka-duckdb", "Kafka → DuckDB, JSON of 200 bytes (messages/s)", "100,000 a second", 100_000, 50_000,
             _into_duckdb, "value"),
    Scenario("kafka-postgres", "Kafka → PostgreSQL, JSON of 200 bytes (messages/s)", "60,000 a second", 60_000, 30_000,
             _into_postgres, "value"),
]  # fmt: skip
