"""Where Idempotency-Keys cannot be kept in a source, `check` says so and the API is labelled at-least-once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pymysql
import pytest

from tongqu.connectors.mysql.serving.rights import may_create
from tongqu.connectors.mysql.serving.server import MysqlServer
from tongqu.connectors.mysql.settings import from_url
from tongqu.testing.command_line import inside

PROJECT = """
project: plant
connections: {db: {type: postgres, host: %s, port: %s, database: %s, user: clerk, password: clerk, tls: disable}}
apis:
  lots:
    source: {connection: db, dataset: lots}
    access: {public: true, write_roles: [mes]}
    write: {insert: true}
  seen: {source: {connection: db, dataset: lots}, access: {public: true}}
"""
TABLE = """CREATE TABLE _tongqu_idempotency (id text PRIMARY KEY, fingerprint text NOT NULL, answer bytea NOT NULL,
made_at bigint NOT NULL, expires_at bigint NOT NULL, version bigint NOT NULL)"""


def test_check_says_what_a_login_without_create_means(pg_url: str, tmp_path: Path) -> None:
    parts = urlsplit(pg_url)
    (tmp_path / "tongqu.yaml").write_text(PROJECT % (parts.hostname, parts.port, parts.path[1:]), encoding="utf-8")
    with psycopg.connect(pg_url, autocommit=True) as connection:
        for statement in ("DROP ROLE IF EXISTS clerk", "CREATE ROLE clerk LOGIN PASSWORD 'clerk'",
                          "CREATE TABLE lots (id bigint PRIMARY KEY)", "GRANT SELECT, INSERT ON lots TO clerk",
                          "REVOKE CREATE ON SCHEMA public FROM PUBLIC"):  # fmt: skip
            connection.execute(statement)
        try:
            done = inside(tmp_path, "check", "--json")
            assert done.code == 0, done.out
            [note] = [one for one in done.document["problems"] if one["code"] == "api.at_least_once"]
            assert (note["level"], note["path"]) == ("warning", "tongqu.yaml:8:apis.lots.write")
            assert "grant CREATE once" in note["hint"]
            assert "请授予一次 CREATE 权限" in inside(tmp_path, "check", "--lang", "zh").err
            assert inside(tmp_path, "api", "show", "lots", "--files", "--json").document["writes"] == "at-least-once"
            assert "至少一次" in inside(tmp_path, "api", "show", "lots", "--files", "--lang", "zh").out
            assert inside(tmp_path, "api", "show", "seen", "--files", "--json").document["writes"] == ""

            connection.execute(TABLE)
            connection.execute("GRANT SELECT, INSERT, DELETE ON _tongqu_idempotency TO clerk")
            assert inside(tmp_path, "api", "show", "lots", "--files", "--json").document["writes"] == "exactly-once"
            assert "at_least_once" not in inside(tmp_path, "check", "--json").out
        finally:
            connection.execute("DROP OWNED BY clerk")
            connection.execute("DROP ROLE clerk")


@pytest.mark.parametrize(
    ("grants", "may"),
    [
        (["GRANT ALL PRIVILEGES ON *.* TO `a`@`%`"], True),
        (["GRANT USAGE ON *.* TO `a`@`%`", "GRANT SELECT, CREATE ON `plant`.* TO `a`@`%`"], True),
        (["GRANT CREATE ON `pl%`.* TO `a`@`%`"], True),
        (["GRANT CREATE ON `plant\\_a`.* TO `a`@`%`"], False),
        (["GRANT CREATE VIEW, SELECT ON `plant`.* TO `a`@`%`"], False),
        (["GRANT SELECT, INSERT ON `plant`.`lots` TO `a`@`%`"], False),
        (["GRANT USAGE ON *.* TO `a`@`%`", "GRANT `writer`@`%` TO `a`@`%`"], None),
    ],
)
def test_grants_of_mysql_are_read(grants: list[str], may: bool | None) -> None:
    assert may_create(grants, "plant") is may


def test_mariadb_tells_what_a_login_may(mysql_url: str) -> None:
    parts = urlsplit(mysql_url)
    database = parts.path[1:]

    async def kept(url: str) -> bool | None:
        server = MysqlServer(from_url(url))
        try:
            return await server.keeps_keys()
        finally:
            await server.close()

    assert asyncio.run(kept(mysql_url)) is True
    with pymysql.connect(
        host=parts.hostname, port=parts.port or 0, user=parts.username, password=parts.password or "", autocommit=True
    ).cursor() as cursor:
        cursor.execute("CREATE USER clerk IDENTIFIED BY 'clerk'")
        try:
            cursor.execute(f"GRANT SELECT, INSERT ON `{database}`.* TO clerk")
            host = f"{parts.hostname}:{parts.port}"
            assert asyncio.run(kept(f"{parts.scheme}://clerk:clerk@{host}/{database}?{parts.query}")) is False
        finally:
            cursor.execute("DROP USER clerk")
