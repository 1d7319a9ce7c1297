"""A log that is no longer there, or is another one, is noticed; it is never read on from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from threading import Event

import psycopg
import pytest
from tests.connectors.postgres.log.conftest import Sql, batches, told

from tongqu.connectors.postgres.log import PostgresLog
from tongqu.connectors.postgres.settings import from_url
from tongqu.connectors.postgres.source import PostgresSource
from tongqu.core.data import Position
from tongqu.core.errors import BusyError, ConnectError, InvalidPlanError, LostPositionError, NotFoundError
from tongqu.core.log import Follow
from tongqu.testing.services import Postgres, start_postgres

Make = Callable[..., PostgresLog]


def lost(log: PostgresLog, after: Position) -> str:
    with pytest.raises(LostPositionError) as found:
        next(log.read(Follow(after)))
    assert "--restart" in found.value.hint
    return found.value.message


def test_a_dropped_slot(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin()
    sql(f"select pg_drop_replication_slot('{log.slot}')")
    assert lost(log, after).endswith("was dropped")


def test_a_slot_dropped_while_it_is_read(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin()
    reading = log.read(Follow(after))
    next(reading)
    sql(f"select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '{log.slot}'")
    gone = f"select count(*) from pg_replication_slots where slot_name = '{log.slot}' and active_pid is not null"
    assert any(sql(gone) == [(0,)] or Event().wait(0.1) for _ in range(300))
    sql(f"select pg_drop_replication_slot('{log.slot}')")
    with pytest.raises(ConnectError):
        list(reading)
    assert lost(log, after).endswith("was dropped")


def test_a_slot_made_anew(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin()
    log.forget()
    sql("insert into t values (1)")
    log.begin()
    assert "it was made anew" in lost(log, after)


def test_another_server(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin() | {"system": "1234"}
    assert "another server" in lost(log, after)


def test_a_slot_of_another_plugin(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin()
    sql(f"select pg_drop_replication_slot('{log.slot}')")
    sql(f"select pg_create_logical_replication_slot('{log.slot}', 'test_decoding')")
    assert "is another one (test_decoding)" in lost(log, after)


def test_begun_twice_it_is_the_same(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    assert log.begin() == log.begin()
    assert follow("t").begin() == log.begin()


def test_forgotten_it_is_gone(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    log.begin()
    log.forget()
    log.forget()
    left = f"select 1 from pg_replication_slots where slot_name = '{log.slot}' union all select 1 from pg_publication"
    assert sql(left) == []


def test_a_table_that_joins_later_is_published_too(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    sql("create table u (id int primary key)")
    first = follow("t")
    after = first.begin()
    first.close()
    log = follow("t", "u")
    assert log.begin() == after
    sql("insert into t values (1)")
    sql("insert into u values (2)")
    assert told(batches(log, after)) == [("c", 1), ("c", 2)]
    assert follow("u").begin()
    assert sql("select tablename from pg_publication_tables") == [("u",)]


def test_a_table_joins_only_when_nobody_writes_it_unseen(url: str, sql: Sql) -> None:
    """What an open transaction wrote before the publication knew the table would be missing."""
    sql("create table t (id int primary key)")
    sql("create table u (id int primary key)")
    source = PostgresSource(from_url(url).model_copy(update={"lock_seconds": 1}))
    log = source.log("test", source.datasets(["t"]))
    log.begin()
    log.close()
    log = source.log("test", source.datasets(["t", "u"]))
    with psycopg.connect(url) as writer:
        writer.execute("insert into u values (1)")
        for _ in range(2):  # told to run it again, somebody does before the writer has ended
            with pytest.raises(BusyError):
                log.begin()
    after = log.begin()
    log.close()
    log = source.log("test", source.datasets(["t", "u"]))
    assert log.begin() == after
    log.close()
    source.close()


def test_one_reader_at_a_time(url: str, sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin()
    reading = log.read(Follow(after))
    next(reading)
    source = PostgresSource(from_url(url).model_copy(update={"connect_seconds": 1}))
    other = source.log("test", source.datasets(["t"]))
    with pytest.raises(ConnectError) as busy:
        next(other.read(Follow(after)))
    assert "is read by process" in busy.value.message
    with pytest.raises(BusyError):
        other.forget()
    reading.close()  # type: ignore[attr-defined]  # it is a generator
    assert next(other.read(Follow(after))).kind == "heartbeat"
    other.close()
    source.close()


def test_generated_columns_are_read_where_the_server_sends_them(url: str, sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key, twice int generated always as (id * 2) stored)")
    log = follow("t")
    if sql("select current_setting('server_version_num')::int >= 180000") == [(True,)]:
        after = log.begin()
        sql("insert into t values (1)")
        assert told(batches(log, after)) == [("c", 1, 2)]
    else:
        with pytest.raises(InvalidPlanError) as refused:
            log.begin()
        assert "generated columns (twice)" in refused.value.message


def test_a_table_that_is_gone(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    sql("drop table t")
    with pytest.raises(NotFoundError):
        log.begin()


def test_a_server_that_comes_back_goes_on(postgres_of_our_own: Postgres) -> None:
    server = postgres_of_our_own
    url = server.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table t (id int primary key)")
    source = PostgresSource(from_url(url))
    log = source.log("test", source.datasets(["t"]))
    after = log.begin()
    reading = log.read(Follow(after))
    next(reading)
    server.kill9()
    with pytest.raises(ConnectError):
        list(reading)
    server.restart()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into t values (1)")
    assert told(batches(log, after)) == [("c", 1)]
    log.close()
    source.close()


@pytest.mark.parametrize(
    ("done", "message"),
    [
        ("alter publication {0} set (publish = 'insert')", "does not publish insert, update, delete and truncate"),
        ("drop publication {0}", "was dropped"),
    ],
)
def test_a_publication_that_was_changed_is_noticed(sql: Sql, follow: Make, done: str, message: str) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin()
    batches(log, after)
    log.close()
    sql(done.format(log.slot))
    log = follow("t")
    found = {finding.what: finding for finding in log.examine() if finding.state == "error"}
    assert "--restart" in found["publication"].fix
    assert message in lost(log, after)
    with pytest.raises(LostPositionError):
        log.begin()  # another table joins
    log.forget()
    assert log.begin()


@pytest.mark.parametrize(
    ("done", "message"),
    [
        ("alter publication {0} drop table t", "t was dropped, or taken out of the publication {0}"),
        ("alter publication {0} drop table t; alter publication {0} add table t", "put in again"),
        ("alter publication {0} set table t where (id < 5), u, new", "leaves out rows or columns of t"),
        ("drop table t; create table t (id int primary key)", "t is another table than the one that was followed"),
        ("alter table t rename to old; alter table new rename to t", "t is another table"),
    ],
)
def test_changes_that_were_not_published_are_noticed(sql: Sql, follow: Make, done: str, message: str) -> None:
    """Nothing in the log says that they are missing, so the next start looks what was done to the publication."""
    sql("create table t (id int primary key)")
    sql("create table new (id int primary key)")
    sql("create table u (id int primary key)")
    log = follow("t", "new", "u")
    after = log.begin()
    batches(log, after)
    log.close()
    for statement in done.split("; "):
        sql(statement.format(log.slot))
    sql("insert into t values (7)")
    sql("insert into u values (7)")
    log = follow("t", "u")
    found = {finding.what: finding for finding in log.examine() if finding.state == "error"}
    assert found["publication"].fix.endswith("--reload t")
    assert message.format(log.slot) in lost(log, after)
    assert log.begin()  # another table joins: it does not put this one right in silence
    why: list[str] = []
    for times in (1, 2):  # who did not note it is told again
        reading = log.read(Follow(after, until=log.head(), lost=lambda name, _: why.append(name)))
        assert told(list(reading)) == [("c", 7)]
        assert why == ["t"] * times
    place = log.rejoin("t")
    sql("insert into t values (8)")
    assert told(batches(log, place)) == [("c", 8)]


def test_a_table_that_is_unpublished_while_it_is_read_ends_the_log(
    sql: Sql, follow: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tongqu.connectors.postgres.log._LOOK", 0.0)
    sql("create table t (id int primary key)")
    log = follow("t")
    reading = log.read(Follow(log.begin()))
    next(reading)
    sql("alter table t rename to other")
    with pytest.raises(LostPositionError, match=r"t was renamed to public\.other"):
        list(reading)


def test_a_table_that_is_dropped_and_followed_no_more_keeps_nobody(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    sql("create table u (id int primary key)")
    log = follow("t", "u")
    after = log.begin()
    log.close()
    sql("drop table u")
    sql("insert into t values (1)")
    log = follow("t")
    assert {finding.state for finding in log.examine()} <= {"ok", "warning"}
    assert told(batches(log, after)) == [("c", 1)]


def test_a_deferrable_key_is_refused(sql: Sql, follow: Make) -> None:
    """`update t set id = 3 - id` on two rows is `1 deleted, 2 there, 2 deleted, 1 there` in the log: one is lost."""
    sql("create table t (id int, primary key (id) deferrable)")
    sql("alter table t replica identity full")
    log = follow("t")
    with pytest.raises(InvalidPlanError, match="deferrable") as refused:
        log.begin()
    assert {finding.what for finding in log.examine() if finding.state == "error"} == {"key"}
    sql(refused.value.hint)
    assert follow("t").begin()


def test_a_server_that_was_restored_to_before_our_place_is_not_read_on(sql: Sql, follow: Make) -> None:
    """Its system and timeline are the same, and what it writes up to our place would be passed over."""
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin() | {"lsn": "FFFF/0"}
    sql("insert into t values (1)")
    with pytest.raises(LostPositionError, match="was restored to before it"):
        batches(log, after)


def test_a_table_that_others_inherit_from_is_refused(sql: Sql, follow: Make) -> None:
    """A read of it has the rows of its children, whose changes the log tells as theirs: they would be lost."""
    sql("create table plain (id int primary key)")
    sql("create table parent (id int primary key)")
    sql("create table child (primary key (id)) inherits (parent)")
    log = follow("plain", "parent")
    with pytest.raises(InvalidPlanError, match="rows of child too") as refused:
        log.begin()
    assert "children" in {finding.what for finding in log.examine() if finding.state == "error"}
    assert "leave the parent out" in refused.value.hint
    log = follow("plain", "child")
    after = log.begin()
    sql("insert into child values (1)")
    assert told(batches(log, after)) == [("c", 1)]
    sql("create table grandchild (primary key (id)) inherits (child)")
    with pytest.raises(LostPositionError, match="child has the rows of grandchild too"):
        batches(log, after)


def test_a_server_without_logical_log_says_how_to_get_one() -> None:
    server = start_postgres({"wal_level": "replica"})
    try:
        url = server.database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table t (id int primary key)")
        source = PostgresSource(from_url(url))
        log = source.log("test", source.datasets(["t"]))
        with pytest.raises(InvalidPlanError) as refused:
            log.begin()
        assert refused.value.hint.startswith("ALTER SYSTEM SET wal_level = 'logical'")
        found = {finding.what: finding for finding in log.examine()}
        assert (found["wal_level"].state, found["wal_level"].found) == ("error", "replica")
        log.close()
        source.close()
    finally:
        server.stop()


def test_a_transaction_that_stays_open_is_named_instead_of_waited_for_forever(url: str, sql: Sql) -> None:
    sql("create table t (id int primary key)")
    settings = from_url(url).model_copy(update={"lock_seconds": 1})
    with closing(PostgresSource(settings)) as source, closing(source.log("test", source.datasets(["t"]))) as log:
        with psycopg.connect(url) as other:
            other.execute("insert into t values (1)")
            pid = other.info.backend_pid
            with pytest.raises(BusyError, match=f"process {pid} ") as caught:
                log.begin()
        assert f"pg_terminate_backend({pid})" in caught.value.hint
        assert log.begin()["lsn"]  # it has ended meanwhile
        log.forget()


def test_it_ends_exactly_where_it_was_asked_to(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin()
    for id in range(1, 21):
        sql(f"insert into t values ({id})")
    # a transaction is 3 messages: blocks of 4 do not always end at the same of them
    places = [batch.position for batch in log.read(Follow(after, until=log.head(), batch_rows=4)) if batch.position]
    middle = places[len(places) // 2]
    found = list(log.read(Follow(after, until=middle)))  # all twenty are there, and come in one block
    rest = list(log.read(Follow(middle, until=log.head())))
    assert found[-1].position == middle
    ids = [[row["id"] for batch in some for row in batch.rows.to_pylist()] for some in (found, rest)]
    assert ids[0]
    assert ids[1]
    assert ids[0] + ids[1] == list(range(1, 21))
