"""Real servers: log in, fresh databases, kill and restart, pause and resume, nothing left behind."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
import pytest

from tongqu.testing.services import (
    MariaDB,
    Postgres,
    Service,
    ServiceError,
    ServiceInstallError,
    missing,
    start_mariadb,
    start_postgres,
)
from tongqu.testing.services import install as packages
from tongqu.testing.services.guard import find


@pytest.fixture(params=["postgres", "postgres18", "mariadb"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    server: Service = request.getfixturevalue(request.param)
    yield server
    server.mend()


def test_a_service_says_what_it_is(service: Service) -> None:
    assert re.fullmatch(r"(PostgreSQL|MariaDB) \d+\.\d+(\.\d+)? \(real\)", service.label)
    assert (service.host, service.kind, service.running) == ("127.0.0.1", "real", True)
    assert urlsplit(service.url).port == service.port


def test_each_database_is_fresh(service: Service) -> None:
    first, second = service.database(), service.database("订单 2026")
    execute(first, "create table t (a int)")
    execute(second, "create table t (a int)")
    assert first != second
    service.drop(urlsplit(first).path[1:])
    service.drop("订单 2026")
    service.drop("订单 2026")


def test_kill9_and_restart_keep_committed_rows(service: Service) -> None:
    url = service.database()
    execute(url, "create table t (a int)", "insert into t values (1), (2)")
    service.kill9()
    assert not service.running
    with pytest.raises((psycopg.OperationalError, pymysql.err.OperationalError)):
        rows(url, "select 1")
    service.restart()
    assert rows(url, "select a from t order by a") == [(1,), (2,)]


def test_an_orderly_restart_keeps_address_and_password(service: Service) -> None:
    before = service.url
    service.restart()
    assert service.url == before
    assert rows(service.url, "select 1") == [(1,)]


def test_a_paused_server_does_not_answer_until_it_is_resumed(service: Service) -> None:
    service.pause()
    assert service.running
    with pytest.raises((psycopg.OperationalError, pymysql.err.OperationalError)):
        rows(service.url, "select 1", seconds=2)
    service.resume()
    assert rows(service.url, "select 1") == [(1,)]


def test_a_wrong_password_is_refused(service: Service) -> None:
    parts = urlsplit(service.url)
    for password in ("", "wrong"):
        wrong = parts._replace(netloc=f"{parts.username}:{password}@{service.host}:{service.port}").geturl()
        with pytest.raises((psycopg.OperationalError, pymysql.err.OperationalError)):
            rows(wrong, "select 1")


def test_it_listens_on_loopback_only(service: Service) -> None:
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    addresses = re.findall(rf": ([0-9A-F]+):{service.port:04X} \S+ 0A ", listening)
    assert addresses == ["0100007F"]


def test_postgres_can_decode_and_takes_settings() -> None:
    with start_postgres({"max_connections": 7, "fsync": True}) as own:
        shown = "select current_setting('wal_level'), current_setting('max_connections'), current_setting('fsync')"
        assert rows(own.url, shown) == [("logical", "7", "on")]


def test_the_wheel_is_copied_out_of_a_private_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tongqu.testing.services.postgres.readable", lambda path: False)
    with start_postgres(version="18") as own:
        assert own.version.startswith("18.")
        as_root = os.geteuid() == 0
        assert ("site-packages" in str(own.binaries)) is not as_root


def test_postgres_drops_a_database_with_a_slot_and_sessions(postgres: Postgres) -> None:
    url = postgres.database("slotted")
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("select pg_create_logical_replication_slot('s', 'pgoutput')")
        postgres.drop("slotted")
    assert rows(postgres.url, "select count(*) from pg_replication_slots where slot_name = 's'") == [(0,)]


def test_mariadb_is_strict_and_takes_local_files(mariadb: MariaDB, mysql_url: str) -> None:
    shown = "select @@local_infile, @@character_set_server, @@default_storage_engine, @@binlog_format"
    assert rows(mysql_url, shown) == [(1, "utf8mb4", "InnoDB", "ROW")]
    execute(mysql_url, "create table t (a tinyint)")
    with pytest.raises(pymysql.err.DataError):
        execute(mysql_url, "insert into t values (1000)")
    assert rows(mariadb.url, "select user, host from mysql.user where user not like 'mariadb.%' order by 2") == [
        ("root", "127.0.0.1"),
        ("root", "localhost"),
    ]


def test_a_mariadb_keeps_its_temporary_tables_to_itself(mariadb: MariaDB) -> None:
    """One that starts deletes those of all that share its folder."""
    temporary, data = rows(mariadb.url, "select @@tmpdir, @@datadir")[0]
    assert Path(str(temporary)).parent == Path(str(data)).parent


@pytest.mark.parametrize("start", [start_postgres, start_mariadb])
def test_stop_leaves_nothing(start: Callable[[], Service]) -> None:
    server = start()
    folder = server._folder
    pid = server._process._child.pid if server._process else 0
    server.stop()
    assert (folder.exists(), find(pid)) == (False, None)
    with pytest.raises(ServiceError, match="was stopped"):
        server.restart()


def test_servers_die_with_a_killed_parent_even_when_paused(tmp_path: Path) -> None:
    script = (
        "import sys; from tongqu.testing.services import start_postgres\n"
        "server = start_postgres(); server.pause()\n"
        "print(server._process._child.pid, server._folder, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdin is not None
    pid, folder = parent.stdout.readline().decode().split()
    assert find(int(pid)) is not None
    waiter = os.pidfd_open(int(pid))
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    parent.stdin.close()
    parent.stdout.close()
    assert ended(waiter, 20)
    os.close(waiter)
    assert gone(Path(folder), 20)


def test_ensure_runs_nothing_when_nothing_is_missing(postgres: Postgres, mariadb: MariaDB) -> None:
    assert (postgres.running, mariadb.running, missing("core")) == (True, True, ())
    assert packages.ensure("core") == ()


def test_ensure_names_what_it_can_not_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_installed", lambda package: False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ServiceInstallError, match="missing: postgresql mariadb-server") as caught:
        packages.ensure("core")
    assert "apt-get install --no-install-recommends postgresql mariadb-server" in caught.value.hint


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(ServiceError, match="unknown group 'oracle'"):
        missing("oracle")


@pytest.mark.parametrize(("required", "outcome"), [("1", "errors=1"), ("0", "skipped=1")])
def test_a_missing_server_skips_or_fails_its_tests(tmp_path: Path, required: str, outcome: str) -> None:
    conftest = Path(__file__).parent.parent / "conftest.py"
    (tmp_path / "conftest.py").write_text(
        f"{conftest.read_text()}\n\ndef start_postgres() -> Postgres:\n    raise ServiceMissingError('postgresql')\n"
    )
    (tmp_path / "test_it.py").write_text("def test_it(pg_url): pass\n")
    report = tmp_path / "report.xml"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir", tmp_path, f"--junit-xml={report}", tmp_path],
        env={**os.environ, "CI": "false", "TONGQU_REQUIRE_SERVICES": required},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    text = report.read_text()
    assert outcome.replace("=", '="') in text
    assert "postgresql is not installed; install it with: python -m tongqu.testing.services ensure" in text


def rows(url: str, query: str, seconds: int = 10) -> list[tuple[object, ...]]:
    """Result of one query on a connection of its own."""
    if url.startswith("postgresql:"):
        with psycopg.connect(url, connect_timeout=seconds) as session:
            return session.execute(query.encode()).fetchall()
    with connect_mysql(url, seconds) as mysql, mysql.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def connect_mysql(url: str, seconds: int) -> pymysql.Connection[pymysql.cursors.Cursor]:
    """A connection to the database a `mysql://` URL names."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 0,
        user=parts.username,
        password=parts.password or "",
        database=unquote(parts.path[1:]),
        connect_timeout=seconds,
        read_timeout=seconds,
    )


def ended(process: int, seconds: float) -> bool:
    """Whether the process behind this pidfd ends within `seconds`."""
    return bool(select.select([process], [], [], seconds)[0])


def gone(folder: Path, seconds: float) -> bool:
    """Whether the folder disappears within `seconds`."""
    deadline = time.monotonic() + seconds
    while folder.exists() and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return not folder.exists()


def execute(url: str, *statements: str) -> None:
    """Runs and commits statements on a connection of its own."""
    if url.startswith("postgresql:"):
        with psycopg.connect(url) as session:
            for statement in statements:
                session.execute(statement.encode())
        return
    with connect_mysql(url, 10) as mysql, mysql.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        mysql.commit()
