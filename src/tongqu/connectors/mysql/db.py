"""One pymysql connection: strict session, our errors, and LOAD DATA fed from memory instead of files."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from tongqu.connectors.mysql.errors import translate
from tongqu.connectors.mysql.settings import MysqlSettings
from tongqu.core.errors import ConnectError, RefusedRowsError, TongquError, WriteError
from tongqu.kit.db import Db, Row
from tongqu.kit.drivers import driver

if TYPE_CHECKING:
    import pyarrow as pa

_SQL_MODE = (
    "STRICT_ALL_TABLES,STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO"
)
_PACKET = 1 << 20


def session(settings: MysqlSettings) -> tuple[str, list[str]]:
    """The statement every session must accept, and those that systems without the variable may refuse."""
    must = f"SET SESSION time_zone = '+00:00', sql_mode = '{_SQL_MODE}'"
    return must, [
        f"SET SESSION innodb_lock_wait_timeout = {settings.lock_seconds}, lock_wait_timeout = {settings.lock_seconds}",
        "SET SESSION net_read_timeout = 600, net_write_timeout = 600, wait_timeout = 28800",
        f"SET SESSION idle_write_transaction_timeout = {settings.idle_seconds}",
        "SET SESSION sql_notes = 1, max_error_count = 64",
        "SET SESSION explicit_defaults_for_timestamp = 1",
        "SET SESSION join_cache_level = 4",  # MariaDB joins by hash where a target has no index on the key
    ]


def quoted(name: str) -> str:
    """An identifier in backticks."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A string as an SQL literal (the session has no NO_BACKSLASH_ESCAPES)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\0", "\\0") + "'"


@cache
def _connection_class() -> Any:
    """pymysql's connection, answering a request for a local file only with the bytes that were armed for that name."""
    connections = driver("pymysql.connections", "mysql")

    class StreamResult(connections.MySQLResult):  # type: ignore[misc,name-defined]  # loaded at run time
        def _read_load_local_packet(self, first_packet: Any) -> None:
            self.connection.answer_load(self, first_packet)

    class StreamConnection(connections.Connection):  # type: ignore[misc,name-defined]  # loaded at run time
        armed: tuple[str, Iterable[bytes | memoryview]] | None = None
        failure: BaseException | None = None

        def _read_query_result(self, unbuffered: bool = False) -> int:
            self._result = None
            result = StreamResult(self)
            result.init_unbuffered_query() if unbuffered else result.read()
            self._result = result
            if result.server_status is not None:
                self.server_status = result.server_status
            return int(result.affected_rows or 0)

        def answer_load(self, result: Any, packet: Any) -> None:
            name = packet.get_all_data()[1:].decode(errors="replace")
            if self.armed is None or self.armed[0] != name:
                self._force_close()
                raise WriteError("the server asked for a file that was not offered; the connection was closed")
            blocks, self.armed = self.armed[1], None
            try:
                for block in blocks:
                    for start in range(0, len(block), _PACKET):
                        self.write_packet(bytes(block[start : start + _PACKET]))
            except TongquError as error:  # the rows sent so far are undone once the server has answered
                self.failure = error
            except BaseException:
                self._force_close()
                raise
            self.write_packet(b"")
            answer = self._read_packet()
            if answer.is_ok_packet():
                result._read_ok_packet(answer)

    return StreamConnection


class MysqlDb(Db):
    """A session in UTC, strict, with autocommit off. `superseded` counts rows that LOAD DATA REPLACE replaced."""

    ledger_types: ClassVar[dict[str, str]] = {
        "id": "varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "text": "longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "long": "bigint",
    }
    for_update: ClassVar[str] = "FOR UPDATE"

    def __init__(self, settings: MysqlSettings, *, reading: bool = False):
        self.settings = settings
        self.superseded = 0
        self._reading = reading
        self._open = False
        self._driver = driver("pymysql", "mysql")
        context = settings.context()
        try:
            self.connection = _connection_class()(
                host=settings.host,
                port=settings.port,
                user=settings.user,
                password=settings.password.get_secret_value().encode() if settings.password else b"",
                database=settings.database,
                charset="utf8mb4",
                connect_timeout=settings.connect_seconds,
                autocommit=False,
                local_infile=not reading and settings.load_data,
                ssl=context if settings.tls not in ("disable", "prefer") else None,
                ssl_disabled=settings.tls == "disable",
                defer_connect=True,
            )
            self.connection.connect(settings.way().connect(settings.host, settings.port, settings.connect_seconds))
        except (self._driver.err.MySQLError, OSError) as error:
            raise translate(settings, error) from None
        self._keep_alive()
        must, may = session(settings)
        self.run(must)
        for statement in may:
            self._try(statement)
        self.version = str(self.rows("SELECT VERSION()")[0][0])
        self.is_mariadb = "mariadb" in self.version.lower()

    def _keep_alive(self) -> None:
        """A peer that vanishes is noticed within a minute instead of hours."""
        sock = self.connection._sock
        limits = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30000}
        for name, value in limits.items():
            if sock is not None and hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def _try(self, statement: str) -> None:
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement)
        except self._driver.err.OperationalError as error:
            failed = translate(self.settings, error)
            if isinstance(failed, ConnectError):
                raise failed from None
        except self._driver.err.MySQLError:  # the system has no such variable; its own default stays
            return

    @property
    def encrypted(self) -> bool:
        """Whether the session runs over TLS."""
        found = self.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        return bool(found and found[0][1])

    def _execute(self, sql: str, params: Sequence[Any]) -> Any:
        cursor = self.connection.cursor()
        try:
            cursor.execute(sql.replace("%", "%%").replace("?", "%s") if params else sql, tuple(params) or None)
        except (self._driver.err.MySQLError, OSError) as error:
            cursor.close()
            raise translate(self.settings, error, reading=self._reading) from None
        return cursor

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """See Db.rows."""
        with self._execute(sql, params) as cursor:
            return [tuple(row) for row in cursor.fetchall()]

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """See Db.run."""
        with self._execute(sql, params) as cursor:
            return int(cursor.rowcount)

    def insert_texts(self, table: str, texts: pa.Table) -> None:
        """See Db.insert_texts. The driver makes few statements of many rows each."""
        names = ", ".join(quoted(name) for name in texts.column_names)
        holes = ", ".join(["%s"] * texts.num_columns)
        sql = f"INSERT INTO {table} ({names}) VALUES ({holes})"
        rows = list(zip(*(column.to_pylist() for column in texts.columns), strict=True))
        with self.connection.cursor() as cursor:
            try:
                cursor.executemany(sql, rows)
            except (self._driver.err.MySQLError, OSError) as error:
                raise translate(self.settings, error) from None

    def begin(self) -> None:
        """See Db.begin."""
        if not self._open:
            self.run("START TRANSACTION")
            self._open = True

    def commit(self) -> None:
        """See Db.commit."""
        self.run("COMMIT")
        self._open = False

    def rollback(self) -> None:
        """See Db.rollback."""
        self._open = False
        try:
            self.connection.rollback()
        except (self._driver.err.MySQLError, OSError):
            self.close()

    def close(self) -> None:
        """See Db.close."""
        if self.connection.open:
            self.connection._force_close()

    def quote(self, name: str) -> str:
        """See Db.quote."""
        return quoted(name)

    def strict(self, sql: str) -> int:
        """Run an INSERT; a warning of any level means a changed value, so it is refused like an error."""
        done = self.run(sql)
        if self.connection._result is not None and self.connection._result.warning_count:
            raise self._refused()
        return done

    def load(self, sql: str, blocks: Iterable[bytes | memoryview]) -> int:
        """Run `LOAD DATA LOCAL INFILE {file} …` with the blocks as its file; returns the records the server counted.

        LOAD DATA LOCAL makes errors into warnings and skips duplicates, so anything but a clean load raises
        RefusedRowsError; the caller rolls back to its savepoint. The number replaced by REPLACE is added to
        `superseded`.
        """
        name = f"tongqu-{secrets.token_hex(8)}"
        self.connection.armed, self.connection.failure = (name, blocks), None
        try:
            with self._execute(sql.replace("{file}", literal(name)), ()):
                result = self.connection._result
        finally:
            failure, self.connection.armed = self.connection.failure, None
            self.connection.failure = None
            if failure is not None:
                raise failure
        text = (result.message or b"").decode(errors="replace")
        numbers = [int(word) for word in text.replace(":", " ").split() if word.isdigit()]
        if len(numbers) != 4:
            raise WriteError(f"the server did not say what LOAD DATA did: {text!r}", path=self.settings.display())
        records, deleted, skipped, warned = numbers
        if skipped or warned or result.warning_count:
            raise self._refused()
        self.superseded += deleted
        return records

    def _refused(self) -> RefusedRowsError:
        found = self.rows("SHOW WARNINGS LIMIT 1")
        code, message = (found[0][1], str(found[0][2])) if found else (0, "rows were skipped")
        return RefusedRowsError(message, path=self.settings.display(), params={"code": code, "detail": message})
