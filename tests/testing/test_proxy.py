"""The fault proxy against a real PostgreSQL: slow, throttled, cut, reset, half-open, lost commit reply."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import psycopg
import pymysql
import pytest
from psycopg.conninfo import conninfo_to_dict

from tongqu.testing.services import FaultProxy, MariaDB, Postgres


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[FaultProxy]:
    with FaultProxy(postgres.host, postgres.port) as made:
        yield made


def test_a_healthy_proxy_changes_nothing(proxy: FaultProxy, pg_url: str) -> None:
    with psycopg.connect(proxy.url(pg_url)) as session:
        text = session.execute("select repeat('通', 1000000)").fetchone()
        assert text == ("通" * 1_000_000,)
        assert proxy.connections == 1


def test_url_keeps_everything_but_the_address(proxy: FaultProxy) -> None:
    assert proxy.url("postgresql://u:p%40@db:1/x?a=b") == f"postgresql://u:p%40@127.0.0.1:{proxy.port}/x?a=b"
    assert proxy.url("mysql://db/x") == f"mysql://127.0.0.1:{proxy.port}/x"


def test_latency_is_added_to_each_round_trip_until_healed(proxy: FaultProxy, pg_url: str) -> None:
    with psycopg.connect(proxy.url(pg_url), autocommit=True) as session:
        proxy.latency(ms=200)
        assert seconds_of(session, "select 1") >= 0.2
        proxy.latency(ms=60_000)
        healing = threading.Timer(0.2, proxy.heal)
        healing.start()
        assert 0.2 <= seconds_of(session, "select 1") < 30
        healing.join()


def test_bandwidth_limits_a_stream_until_healed(proxy: FaultProxy, pg_url: str) -> None:
    with psycopg.connect(proxy.url(pg_url), autocommit=True) as session:
        proxy.bandwidth(bytes_per_s=400_000)
        assert seconds_of(session, "select repeat('x', 200000)") >= 0.45
        proxy.bandwidth(bytes_per_s=10)
        healing = threading.Timer(0.2, proxy.heal)
        healing.start()
        assert seconds_of(session, "select repeat('x', 200000)") < 30
        healing.join()


def test_cut_ends_connections_and_refuses_new_ones_until_healed(proxy: FaultProxy, pg_url: str) -> None:
    session = psycopg.connect(proxy.url(pg_url), autocommit=True)
    proxy.cut()
    with pytest.raises(psycopg.OperationalError, match="closed the connection"):
        session.execute("select 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(proxy.url(pg_url))
    assert proxy.connections == 0
    proxy.heal()
    assert answers(proxy.url(pg_url))


def test_reset_sends_rst_and_takes_new_connections(proxy: FaultProxy, pg_url: str) -> None:
    with socket.create_connection((proxy.host, proxy.port)) as raw:
        session = psycopg.connect(proxy.url(pg_url), autocommit=True)  # accepted after `raw`: both are served
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            raw.recv(1)
        with pytest.raises(psycopg.OperationalError):
            session.execute("select 1")
    assert answers(proxy.url(pg_url))


def test_half_open_hangs_without_a_word_and_goes_on_after_heal(proxy: FaultProxy, pg_url: str) -> None:
    with psycopg.connect(proxy.url(pg_url), autocommit=True) as session:
        proxy.half_open()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(proxy.url(pg_url), connect_timeout=2)
        healing = threading.Timer(0.2, proxy.heal)
        healing.start()
        assert session.execute("select 7").fetchone() == (7,)
        healing.join()


def test_dropped_replies_reach_nobody_but_the_work_is_done(proxy: FaultProxy, pg_url: str) -> None:
    with psycopg.connect(pg_url, autocommit=True) as direct:
        direct.execute("create table t (a int)")
        session = psycopg.connect(proxy.url(pg_url), autocommit=True)
        proxy.drop_replies()
        cutting = threading.Timer(0.5, proxy.reset)
        cutting.start()
        with pytest.raises(psycopg.OperationalError):
            session.execute("insert into t values (1)")
        cutting.join()
        assert direct.execute("select a from t").fetchall() == [(1,)]


def test_lost_commit_reply_the_client_fails_and_the_row_is_there(proxy: FaultProxy, pg_url: str) -> None:
    with psycopg.connect(pg_url, autocommit=True) as direct:
        direct.execute("create table t (a int)")
        proxy.drop_replies(after=b"COMMIT")
        session = psycopg.connect(proxy.url(pg_url))
        session.execute("insert into t values (1)")
        with pytest.raises(psycopg.OperationalError, match="closed the connection"):
            session.commit()
        assert direct.execute("select a from t").fetchall() == [(1,)]
    assert proxy.lost == 1
    with psycopg.connect(proxy.url(pg_url)) as again:  # once by default: the retry gets through
        assert again.execute("select count(*) from t").fetchone() == (1,)


def test_lost_reply_by_predicate_and_more_than_once(proxy: FaultProxy, pg_url: str) -> None:
    proxy.drop_replies(after=lambda request: b"select 'fatal'" in request, times=2)
    for _ in range(2):
        session = psycopg.connect(proxy.url(pg_url), autocommit=True)
        assert session.execute("select 'fine'").fetchone() == ("fine",)
        with pytest.raises(psycopg.OperationalError):
            session.execute("select 'fatal'")
    assert proxy.lost == 2
    assert answers(proxy.url(pg_url))


def test_lost_commit_reply_of_mariadb(mariadb: MariaDB, mysql_url: str) -> None:
    name = mysql_url.rpartition("/")[2]
    with FaultProxy(mariadb.host, mariadb.port) as proxy:
        session = mysql_through(proxy, mariadb, name)
        with session.cursor() as cursor:
            cursor.execute("create table t (a int)")
            cursor.execute("insert into t values (1)")
            proxy.drop_replies(after=b"COMMIT")
            with pytest.raises(pymysql.err.OperationalError, match="Lost connection"):
                session.commit()
        with mysql_through(proxy, mariadb, name) as again, again.cursor() as cursor:
            cursor.execute("select a from t")
            assert cursor.fetchall() == ((1,),)


def test_a_dead_server_looks_dead_through_the_proxy(proxy: FaultProxy, postgres: Postgres, pg_url: str) -> None:
    session = psycopg.connect(proxy.url(pg_url), autocommit=True)
    postgres.kill9()
    for attempt in (lambda: session.execute("select 1"), lambda: psycopg.connect(proxy.url(pg_url))):
        with pytest.raises(psycopg.OperationalError):
            attempt()
    postgres.restart()
    assert answers(proxy.url(pg_url))


def test_bandwidth_must_be_positive(proxy: FaultProxy) -> None:
    with pytest.raises(ValueError, match="half_open"):
        proxy.bandwidth(0)


def test_close_twice_is_harmless_and_leaves_no_thread(postgres: Postgres) -> None:
    made = FaultProxy(postgres.host, postgres.port)
    made.close()
    made.close()
    assert not any(thread.name == "fault-proxy" and thread.is_alive() for thread in threading.enumerate())


def seconds_of(session: psycopg.Connection[tuple[object, ...]], query: str) -> float:
    """How long one query takes."""
    start = time.monotonic()
    session.execute(query.encode()).fetchall()
    return time.monotonic() - start


def answers(url: str) -> bool:
    """Whether a new connection works."""
    with psycopg.connect(url, connect_timeout=10) as session:
        return session.execute("select 1").fetchone() == (1,)


def mysql_through(proxy: FaultProxy, server: MariaDB, database: str) -> pymysql.Connection[pymysql.cursors.Cursor]:
    """A connection to one database through the proxy."""
    login = conninfo_to_dict(server.url.replace("mysql:", "postgresql:"))
    return pymysql.connect(
        host=proxy.host,
        port=proxy.port,
        user=str(login["user"]),
        password=str(login["password"]),
        database=database,
    )
