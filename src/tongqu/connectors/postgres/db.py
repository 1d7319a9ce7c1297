"""A PostgreSQL connection as the kit sees it, and the driver's errors in our own words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.core.errors import (
    AuthError,
    ConnectError,
    ConnectorError,
    NotFoundError,
    PrivilegeError,
    RefusedRowsError,
    TongquError,
    WriteError,
)
from tongqu.kit.db import Db, Row
from tongqu.kit.drivers import driver
from tongqu.kit.faults import crash_point

if TYPE_CHECKING:
    import pyarrow as pa

# One spelling of every value's text form, whatever the server's configuration says.
SESSION = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}

_RETRY_CLASSES = ("08", "40", "53", "57", "58")
_NO_SPACE = "53100"
_DIVISION_BY_ZERO = "22012"
_COPIED = 16_384
_MOST_PREPARED = 200


class PgDb(Db):
    """One psycopg connection in autocommit with explicit transactions."""

    for_update = "FOR UPDATE"

    def __init__(self, settings: PostgresSettings, role: str):
        psycopg = driver("psycopg", "postgres")
        options = " ".join(f"-c {key}={_escape(value)}" for key, value in SESSION.items())
        if settings.schema_name:
            options += f" -c search_path={_escape(quoted(settings.schema_name))}"
        self._settings = settings
        with translated(settings):
            self.connection = psycopg.connect(
                **settings.libpq(), application_name=f"tongqu {role}", options=options, autocommit=True
            )
            self.connection.prepare_threshold = None
        self._prepared: set[str] = set()
        self._relaxed = False
        self.mark: Callable[[], str] = str
        """Whose its transactions are, shown by the server as the name of the application; nothing: the role's alone."""

    @property
    def version(self) -> int:
        """Server version as a number: 150020."""
        return int(self.connection.info.server_version)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """See Db.rows."""
        with translated(self._settings):
            return self._execute(sql, params).fetchall()  # type: ignore[no-any-return]  # driver is imported lazily

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """See Db.run."""
        with translated(self._settings):
            return int(self._execute(sql, params).rowcount)

    def _execute(self, sql: str, params: Sequence[Any]) -> Any:
        if not params:
            return self.connection.execute(sql)
        return self.connection.execute(sql.replace("%", "%%").replace("?", "%s"), params)

    def copy_in(self, sql: str, blocks: Iterable[bytes | memoryview]) -> int:
        """Run `COPY … FROM STDIN` with these blocks; returns the number of rows the server took."""
        with translated(self._settings), self.connection.cursor() as cursor:
            with cursor.copy(sql) as copy:
                for block in blocks:
                    copy.write(block)
            return int(cursor.rowcount)

    def insert_texts(self, table: str, texts: pa.Table) -> None:
        """See Db.insert_texts."""
        from tongqu.connectors.postgres.encode import HEADER, TRAILER, Encoder

        encoder = Encoder(texts.schema, ["text"] * texts.num_columns)
        rows = (block for batch in texts.to_batches(max_chunksize=_COPIED) for block in encoder.chunks(batch))
        names = ", ".join(quoted(name) for name in texts.column_names)
        self.copy_in(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)", chain([HEADER], rows, [TRAILER]))

    def prepared(self, name: str, text: str) -> None:
        """Have this connection know a statement; `text` is what follows its name in PREPARE."""
        if name in self._prepared:
            return
        if len(self._prepared) >= _MOST_PREPARED:
            self.run("DEALLOCATE ALL")
            self._prepared.clear()
        self.run(f"PREPARE {name} {text}")
        self._prepared.add(name)

    def at_once(self, sql: str, point: str) -> Row:
        """The one row of a statement that is asked together with what it needs: in an open transaction a savepoint,
        else the transaction's begin. After an error the savepoint is undone, or the transaction is ended."""
        is_open = self.connection.info.transaction_status != 0
        before, after = (f"SAVEPOINT {point}", f"; RELEASE SAVEPOINT {point}") if is_open else (self._beginning, "")
        try:
            with translated(self._settings):
                cursor = self.connection.execute(f"{before}; {sql}{after}")
                while cursor.description is None:
                    cursor.nextset()
                return cursor.fetchone()  # type: ignore[no-any-return]  # driver is imported lazily
        except RefusedRowsError:
            self.run(f"ROLLBACK TO SAVEPOINT {point}") if is_open else self.rollback()
            raise

    @property
    def _beginning(self) -> str:
        lock, idle = self._settings.lock_seconds, self._settings.idle_seconds
        limits = f"SET LOCAL lock_timeout = '{lock}s'; SET LOCAL idle_in_transaction_session_timeout = '{idle}s'"
        mark = self.mark()
        named = f"; SET LOCAL application_name = {literal(mark)}" if mark else ""
        return f"BEGIN; {limits}{named}; SET CONSTRAINTS ALL IMMEDIATE"

    def begin(self) -> None:
        """See Db.begin. Deferrable constraints are checked with each statement, so a bad row is found while it can
        still be set aside."""
        with translated(self._settings):
            if self.connection.info.transaction_status == 0:
                self.connection.execute(self._beginning)

    def run_and_commit(self, sql: str, params: Sequence[Any] = ()) -> int:
        """See Db.run_and_commit: in one question; the server itself stops before the COMMIT if no row was changed."""
        psycopg = driver("psycopg", "postgres")
        text = sql.replace("%", "%%").replace("?", "%s")
        crash_point("in_commit")
        try:
            with translated(self._settings), psycopg.ClientCursor(self.connection) as cursor:
                asked = f"WITH moved AS ({text} RETURNING 1) SELECT 1 / count(*) FROM moved; COMMIT"
                cursor.execute(self._ending(asked), params)
        except RefusedRowsError as error:
            if error.params.get("state") != _DIVISION_BY_ZERO:
                raise
            self.rollback()
            return 0
        return 1

    def relax(self) -> None:
        """See Db.relax. The server is told with the commit."""
        self._relaxed = True

    def commit(self) -> None:
        """See Db.commit."""
        with translated(self._settings):
            self.connection.execute(self._ending("COMMIT"))

    def _ending(self, sql: str) -> str:
        """The last question of a transaction."""
        relaxed, self._relaxed = self._relaxed, False
        return f"SET LOCAL synchronous_commit = off; {sql}" if relaxed else sql

    def rollback(self) -> None:
        """See Db.rollback."""
        psycopg = driver("psycopg", "postgres")
        self._relaxed = False
        try:
            if self.connection.info.transaction_status != 0:
                self.connection.execute("ROLLBACK")
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        """See Db.close."""
        self.connection.close()

    @property
    def broken(self) -> bool:
        """Whether the connection cannot be used any more."""
        return bool(self.connection.closed or self.connection.broken)


def quoted(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted literal for SQL that cannot take parameters (COPY); safe with standard_conforming_strings on."""
    return "'" + text.replace("'", "''") + "'"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


@contextmanager
def translated(settings: PostgresSettings) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    psycopg = driver("psycopg", "postgres")
    try:
        yield
    except psycopg.Error as error:
        state = getattr(error, "sqlstate", None) or ""
        raise translate(settings, state, str(error)) from error


def translate(settings: PostgresSettings, state: str, text: str) -> TongquError:
    """The error for a SQLSTATE and the server's own message (source: PostgreSQL docs, appendix A)."""
    message = text.strip().removeprefix("connection failed: ")
    if settings.password:
        message = message.replace(settings.password.get_secret_value(), "***")
    where = settings.display()
    first = message.split("\n", maxsplit=1)[0]
    kind, hint = _classify(state, message)
    return kind(first, path=where, hint=hint, params={"state": state, "detail": message})


def _classify(state: str, message: str) -> tuple[type[TongquError], str]:
    known: dict[str, tuple[type[TongquError], str]] = {
        "42501": (PrivilegeError, "grant the role the missing right"),
        "42P01": (NotFoundError, "list what is there with `tongqu check` and name the table as schema.table"),
        "42703": (NotFoundError, "check the column's spelling"),
        "3D000": (NotFoundError, "create the database or correct its name"),
        "3F000": (NotFoundError, "create the schema or correct its name"),
        "55P03": (ConnectError, "another session holds a lock on the table; find it in pg_locks"),
        "42P07": (WriteError, "a table of that name appeared meanwhile; run again"),
        "25P03": (ConnectError, "nothing was written for longer than idle_seconds; what was open is done again"),
        _NO_SPACE: (WriteError, "the server's disk is full; free space and run the same command again"),
    }
    if state in known:
        return known[state]
    if state.startswith(("22", "23")):
        return RefusedRowsError, "see the quarantine for the rows"
    if state.startswith("28") or "authentication failed" in message or "no password supplied" in message:
        return AuthError, "check user and password"
    if not state and "does not exist" in message:
        return NotFoundError if "database" in message else AuthError, "check the name"
    if not state or state.startswith(_RETRY_CLASSES):
        return ConnectError, "check that the server runs and can be reached, then run the same command again"
    return ConnectorError, ""
