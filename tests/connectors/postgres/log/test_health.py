"""What is looked at before and while a log is followed, and the statement that mends it."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from pydantic import SecretStr
from tests.connectors.postgres.log.conftest import Sql

from tongqu.connectors.postgres.log import PostgresLog
from tongqu.connectors.postgres.settings import from_url
from tongqu.connectors.postgres.source import PostgresSource
from tongqu.core.log import Finding, Log
from tongqu.testing.services import Postgres

Make = Callable[..., PostgresLog]


def found(log: Log, state: str) -> dict[str, Finding]:
    return {finding.what: finding for finding in log.examine() if finding.state == state}


def test_a_sound_server_has_no_errors_and_nothing_is_changed(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    assert found(log, "error") == {}
    assert {"wal_level", "max_replication_slots", "max_wal_senders", "replication", "slot"} <= set(found(log, "ok"))
    assert sql("select count(*) from pg_publication") == [(0,)]


def test_every_statement_that_mends_does(url: str, sql: Sql, follow: Make) -> None:
    sql("create table t (id int)")
    sql("create unlogged table u (id int primary key)")
    log = follow("t", "u")
    wrong = found(log, "error")
    assert set(wrong) == {"replica_identity", "logged"}
    for finding in wrong.values():
        sql(finding.fix)
    assert found(log, "error") == {}


def test_a_role_without_rights_is_told_which_it_needs(url: str, sql: Sql) -> None:
    role = f"plain_{url.rpartition('/')[2]}"[:60]
    sql(f"create role {role} login password 'secret'")
    sql("create table t (id int primary key)")
    settings = from_url(url).model_copy(update={"user": role})
    settings = settings.model_copy(update={"password": SecretStr("secret")})
    source = PostgresSource(settings)
    log = source.log("test", source.datasets(["t"]))
    wrong = {**found(log, "error"), **found(log, "warning")}
    log.close()
    source.close()
    assert wrong["replication"].fix == f'ALTER ROLE "{role}" REPLICATION'
    assert wrong["select"].fix == f'GRANT SELECT ON "public"."t" TO "{role}"'
    assert wrong["publication"].fix.startswith('CREATE PUBLICATION "tongqu_test" FOR TABLE "public"."t"')
    assert wrong["create_publication"].fix.startswith("GRANT CREATE ON DATABASE")
    for what in ("replication", "select"):
        sql(wrong[what].fix)
    sql(f'drop owned by "{role}"')
    sql(f'drop role "{role}"')


def test_a_slot_that_is_gone_is_told_though_nobody_asks_for_it(url: str, sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    log.begin()
    log.close()
    sql(f"select pg_drop_replication_slot('{log.slot}')")
    source = PostgresSource(from_url(url))
    other = source.log("doctor", source.datasets(["t"]))
    wrong = found(other, "error")["slot"]
    assert wrong.found == f"{log.slot} was dropped, its publication is still there"
    sql(wrong.fix.partition("if nobody follows it, ")[2])
    assert found(other, "error") == {}
    other.close()
    source.close()


def test_how_far_behind_it_is_and_when_it_would_be_lost(postgres_of_our_own: Postgres) -> None:
    url = postgres_of_our_own.database()
    source = PostgresSource(from_url(url))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table t (id int primary key)")
        log = source.log("test", source.datasets(["t"]))
        after = log.begin()
        assert log.lag(log.head()).bytes == 0
        connection.execute("insert into t select generate_series(1, 10000)")
        lag = log.lag(after)
        assert (lag.bytes or 0) > 100_000
        assert lag.until_loss is None
        connection.execute("alter system set max_slot_wal_keep_size = '1GB'")
        connection.execute("select pg_reload_conf()")
        assert any(log.lag(after).until_loss is not None for _ in range(10_000))
        assert "not being read" in next(f.found for f in log.examine() if f.what == "slot")
        connection.execute("alter system reset max_slot_wal_keep_size")
        connection.execute("select pg_reload_conf()")
        log.forget()
    log.close()
    source.close()
