"""Starts private MariaDB servers from Debian's package."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tongqu.testing.services.install import mariadb_program
from tongqu.testing.services.process import HOST, Account, account, give, new_folder, run
from tongqu.testing.services.service import Service

if TYPE_CHECKING:
    import pymysql

Value = str | int | float | bool

# innodb_flush_log_at_trx_commit = 2 writes each commit to the page cache: it survives kill9 (0 would not).
# Row binlog with full metadata is what change capture needs.
DEFAULTS: dict[str, Value] = {
    "bind_address": HOST,
    "skip_name_resolve": True,
    "character_set_server": "utf8mb4",
    "collation_server": "utf8mb4_unicode_ci",
    "default_storage_engine": "InnoDB",
    "default_time_zone": "+00:00",
    "sql_mode": "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION",
    "local_infile": True,
    "max_allowed_packet": "256M",
    "innodb_buffer_pool_size": "128M",
    "innodb_log_file_size": "64M",
    "innodb_flush_log_at_trx_commit": 2,
    "server_id": 1,
    "log_bin": "bin",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "gtid_strict_mode": True,
}
_templates: dict[Path, Path] = {}


class MariaDB(Service):
    """A MariaDB whose `root` logs in with a password, over TCP from 127.0.0.1 or through its private socket."""

    name = "MariaDB"
    _home = "mysql"
    _end = signal.SIGTERM
    _throw_away = signal.SIGKILL

    def url_of(self, database: str) -> str:
        return f"mysql://root:{self._password}@{self.host}:{self.port}/{quote(database, safe='')}"

    def drop(self, database: str) -> None:
        """Drops a database, ending the sessions that use it; harmless if it does not exist."""
        with self._session() as session, session.cursor() as cursor:
            cursor.execute("select id from information_schema.processlist where db = %s", [database])
            for (number,) in cursor.fetchall():
                with contextlib.suppress(_driver_error()):  # it may have gone by itself
                    cursor.execute(f"kill connection {int(number)}")
            cursor.execute(f"drop database if exists {_identifier(database)}")

    def _create(self, database: str) -> None:
        with self._session() as session, session.cursor() as cursor:
            cursor.execute(f"create database {_identifier(database)}")

    def _command(self, port: int) -> Sequence[str | Path]:
        return [mariadb_program("mariadbd"), f"--defaults-file={self._folder / 'my.cnf'}", f"--port={port}"]

    def _probe(self) -> str:
        with self._session() as session, session.cursor() as cursor:
            cursor.execute("select version()")
            row = cursor.fetchone()
        assert row is not None
        return str(row[0]).partition("-")[0]

    def _not_ready(self) -> type[Exception]:
        return _driver_error()

    @contextlib.contextmanager
    def _session(self) -> Iterator[pymysql.Connection[Any]]:
        import pymysql

        session = pymysql.connect(
            host=self.host,
            port=self.port,
            user="root",
            password=self._password,
            autocommit=True,
            connect_timeout=5,
            read_timeout=30,
            write_timeout=30,
        )
        try:
            yield session
        finally:
            session.close()

    def write_files(self, settings: Mapping[str, Value]) -> None:
        """Writes the option file, and the statements the server runs before it takes its first connection."""
        data = self._folder / "data"
        lines = ["[mysqld]", f"datadir={data}", f"socket={self._folder / 's.sock'}"]
        lines += [f"pid_file={self._folder / 'pid'}", f"init_file={self._folder / 'init.sql'}"]
        own = self._folder / "tmp"  # a server that starts deletes all temporary tables where it keeps its own
        own.mkdir(exist_ok=True)
        give(own, self._owner)
        lines.append(f"tmpdir={own}")
        lines += [f"{name}={_text(value)}" for name, value in {**DEFAULTS, **settings}.items()]
        secret = self._password  # hexadecimal
        statements = [
            "SET sql_log_bin=0",
            "DELETE FROM mysql.global_priv WHERE User NOT IN ('mariadb.sys')",
            "FLUSH PRIVILEGES",
            *(
                f"GRANT ALL ON *.* TO 'root'@'{host}' IDENTIFIED BY '{secret}' WITH GRANT OPTION"
                for host in ("localhost", HOST)
            ),
        ]
        for name, text in (("my.cnf", lines), ("init.sql", [f"{line};" for line in statements])):
            path = self._folder / name
            path.touch(mode=0o600)
            path.write_text("\n".join(text) + "\n")
            give(path, self._owner)

    def close_door(self) -> None:
        """Empties the file of first statements: it held the password and must not run again."""
        (self._folder / "init.sql").write_text("")


def start_mariadb(settings: Mapping[str, Value] | None = None) -> MariaDB:
    """Starts a MariaDB with an empty data folder; returns when a login works.

    `settings` are server variables on top of DEFAULTS. ServiceMissingError when it is not installed,
    ServiceError when it does not answer within 60 seconds.
    """
    owner = account("mysql")
    template = _template(owner)
    folder = new_folder("tongqu-mariadb-", owner)
    run(["cp", "-a", "--reflink=auto", template, folder / "data"], owner, folder)
    server = MariaDB(folder, owner)
    server.write_files(settings or {})
    server._start()
    server.close_door()
    return server


def _template(owner: Account | None) -> Path:
    """A data folder made by mariadb-install-db once per process."""
    program = mariadb_program("mariadb-install-db")
    if program not in _templates or not _templates[program].exists():
        folder = new_folder("tongqu-mariadb-template-", owner)
        run(
            [
                program,
                "--no-defaults",
                f"--datadir={folder / 'data'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-log-file-size=8M",
                "--innodb-flush-log-at-trx-commit=0",
            ],
            owner,
            folder,
        )
        _templates[program] = folder / "data"
    return _templates[program]


def _text(value: Value) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _identifier(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _driver_error() -> type[Exception]:
    import pymysql

    return pymysql.err.MySQLError
