"""Numbers wider than 38 digits, or without a bound: no sum and no cast ever rounds them or cuts them off."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
import pymysql
import pytest
from tests.gateway.published import CURSORS, Database, actor, api, people

from tongqu.core.data import Dataset
from tongqu.core.errors import CastError
from tongqu.core.registry import connector
from tongqu.core.server import Format, Limits
from tongqu.gateway.asking import Ask, Wanted
from tongqu.gateway.leaks.suite import prove
from tongqu.gateway.rewrite import rewrite

ACCESS = {"roles": ["r"], "fields": {"secret": {"roles": ["hr"]}}}


def asked(type_: str, url: str, ask: Ask, format: Format = "json") -> str:
    """What a server answers, of an API over its table `items`."""
    found = connector(type_)
    assert found.server is not None
    server = found.server(found.from_url(url))
    reference = Database("duckdb", "items", people())

    async def work() -> str:
        await server.open()
        try:
            told = await server.describe("items")
            dataset = Dataset("items", told.schema, told.key)
            one = replace(api(reference, pa.table([[]] * len(told.schema), schema=told.schema), ACCESS),
                          server=server, dataset=dataset)  # fmt: skip
            assert prove(one).leaks == ()  # made-up rows of such numbers, too
            made = rewrite(ask, one, one.policy.decide(actor("r"), "read"), CURSORS)
            return (await server.query(made.query, format, Limits(seconds=20))).body.decode()
        finally:
            await server.close()

    try:
        return asyncio.run(work())
    finally:
        reference.close()


def test_postgres_keeps_every_digit_and_gives_money_and_oids_as_numbers(pg_url: str) -> None:
    with psycopg.connect(pg_url) as connection:
        connection.execute("CREATE TABLE items (id int PRIMARY KEY, n numeric, m money, o oid, secret int)")
        connection.execute(
            "INSERT INTO items VALUES (1, 123456789012345678901234567890.25, '$1,234.50', 42, 1),"
            " (2, 0.25, '-$0.01', 7, 2)"
        )
    sums = Ask((Wanted("n", aggregate="sum", name="n"), Wanted("m", aggregate="sum", name="m")))
    assert asked("postgres", pg_url, sums) == '[{"n":123456789012345678901234567890.50,"m":1234.49}]'
    row = Ask((Wanted("n", name="n", cast="numeric"), Wanted("m"), Wanted("o")), limit=1)
    assert asked("postgres", pg_url, row) == '[{"n":123456789012345678901234567890.25,"m":1234.50,"o":42}]'


def test_mariadb_sums_what_decimal_38_does_not_hold(mysql_url: str) -> None:
    parts = urlsplit(mysql_url)
    connection = pymysql.connect(
        host=parts.hostname, port=parts.port or 3306, user=parts.username, password=parts.password or "",
        database=parts.path[1:], autocommit=True,
    )  # fmt: skip
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE items (id int PRIMARY KEY, n decimal(65,30), d decimal(38,10), secret int)")
        cursor.execute(f"INSERT INTO items VALUES (1, 1{'0' * 33}.5, {'9' * 28}, 1), (2, 0.25, {'9' * 28}, 2)")
    sums = Ask((Wanted("n", aggregate="sum", name="n"),))
    assert asked("mysql", mysql_url, sums) == f'[{{"n":1{"0" * 33}.75{"0" * 28}}}]'
    with pytest.raises(CastError):  # refused; MariaDB's own cast would give the largest DECIMAL(38, 10) instead
        asked("mysql", mysql_url, Ask((Wanted("d", aggregate="sum", name="d"),)))
