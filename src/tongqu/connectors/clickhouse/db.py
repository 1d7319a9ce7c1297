"""One native connection to ClickHouse, and the ledger at home that stands in for the transactions it has not."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.connectors.clickhouse.dialect import Clickhouse
from tongqu.connectors.clickhouse.settings import ClickhouseSettings
from tongqu.core.errors import (
    AuthError,
    ConnectError,
    NotFoundError,
    PrivilegeError,
    ReadError,
    RefusedRowsError,
    TongquError,
    WriteError,
)
from tongqu.kit import lasting
from tongqu.kit.db import Db, Row
from tongqu.kit.drivers import driver
from tongqu.kit.sqlite import SqliteDb, connect
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.values import arrived

_AUTH = {192, 193, 194, 516}
_DENIED = {164, 291, 497}
_MISSING = {16, 47, 60, 81}
_DATA = {6, 26, 27, 38, 41, 53, 69, 70, 72, 321, 349, 407, 469}
_BROKEN = {3, 32, 159, 202, 209, 210, 236, 242, 999}


class ClickhouseDb(TableDb):
    """A connection; `books` is the ledger's database at home, None for one that only reads."""

    dialect: Clickhouse

    def __init__(self, settings: ClickhouseSettings, address: tuple[str, int], *, books: Path | None = None):
        self._driver = driver("clickhouse_driver", "clickhouse")
        self._errors = driver("clickhouse_driver.errors", "clickhouse")
        self.where, self.reading, self._settings = settings.display(), books is None, settings
        secure: dict[str, Any] = {}
        if settings.tls != "disable":
            verify = settings.tls == "verify"
            secure = {"secure": True, "verify": verify, "server_hostname": settings.host,
                      "cert_reqs": ssl.CERT_REQUIRED if verify else ssl.CERT_NONE}  # fmt: skip
            secure |= {"ca_certs": settings.ca_file} if settings.ca_file else {}
        client = self._driver.Client(
            host=address[0], port=address[1], user=settings.user, database=settings.database,
            password=settings.password.get_secret_value() if settings.password else "",
            connect_timeout=settings.connect_seconds, send_receive_timeout=settings.read_seconds,
            compression=settings.compression, client_name="tongqu", settings={"strings_as_bytes": True}, **secure,
        )  # fmt: skip
        try:
            major, minor = client.execute("SELECT version()")[0][0].decode().split(".")[:2]
        except self.failures as error:
            client.disconnect()
            raise self.meaning(error) from None
        super().__init__(client, Clickhouse((int(major), int(minor))), settings.display(), reading=books is None)
        self.token = ""
        """What names the next block, so that the server knows it again."""
        self.loads = 0
        """Inserts that the present block has taken so far."""
        self.books = None if books is None else Books(books)

    @property
    def failures(self) -> tuple[type[BaseException], ...]:
        """See TableDb.failures."""
        return (self._errors.Error, OSError, EOFError)

    def meaning(self, error: BaseException) -> TongquError:
        """See TableDb.meaning."""
        code = int(getattr(error, "code", 0) or 0)
        text = str(getattr(error, "message", "") or error).split(" Stack trace:")[0].split("\n")[0].strip()
        text = text.removeprefix("DB::Exception: ")
        if code in _AUTH or "Authentication failed" in text:
            hint = "check user, password and database"
            return AuthError(f"the server refused the login: {text}", path=self.where, hint=hint)
        if code in _DENIED:
            return PrivilegeError(f"not allowed: {text}", path=self.where, hint="grant the missing right to this login")
        if code in _MISSING:
            return NotFoundError(text, path=self.where, hint="look at the names with `tongqu schema`")
        if code in _DATA:
            return RefusedRowsError(text, path=self.where, params={"code": code})
        if code in _BROKEN or isinstance(error, OSError | EOFError):
            hint = "check host, port (9000 is the native protocol's) and the server's log"
            return ConnectError(f"the connection failed: {text}", path=self.where, hint=hint)
        return (ReadError if self.reading else WriteError)(f"{text} (error {code})", path=self.where)

    # ---- statements

    def _asked(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        parts = sql.split("?") if params else [sql]
        texts = [self.dialect.literal(value) if isinstance(value, str) else str(value) for value in params]
        text = "".join(f"{part}{value}" for part, value in zip(parts, [*texts, ""], strict=True)) if params else sql
        try:
            found = self.connection.execute(text)
        except self.failures as error:
            raise self.meaning(error) from None
        return [tuple(_text(value) for value in row) for row in found] if isinstance(found, list) else []

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """See Db.rows."""
        return self._asked(sql, params)

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """See Db.run."""
        self._asked(sql, params)
        return -1

    def say(self, statements: Sequence[str]) -> None:
        """See TableDb.say."""
        for statement in statements:
            self._asked(statement)

    def batches(self, sql: str, schema: pa.Schema, size: int) -> Iterator[pa.RecordBatch]:
        """See TableDb.batches."""
        found = self.connection.execute_iter(sql, chunk_size=size, settings={"max_block_size": size})
        try:
            for block in found:
                columns = zip(*block, strict=True)
                arrays = [arrived(_texts(values, field), field) for values, field in zip(columns, schema, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except self.failures as error:
            raise self.meaning(error) from None
        finally:
            found.close()

    def put(self, table: str, names: Sequence[str], columns: Sequence[Sequence[Any]], token: str) -> None:
        """Insert columns of values as one block, which the server knows again by its token (from version 22 on)."""
        known = {"insert_deduplication_token": token} if self.dialect.version >= (22, 2) else {}
        try:
            self.connection.execute(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES", list(columns), columnar=True, types_check=True,
                settings={"max_insert_block_size": 10_000_000, "insert_block_size": 10_000_000} | known,
            )  # fmt: skip
        except self.failures as error:
            self.connection.disconnect()
            raise self.meaning(error) from None

    # ---- the ledger's transactions

    def begin(self) -> None:
        """See Db.begin; the ledger's begins with its first statement."""

    def commit(self) -> None:
        """See Db.commit: of the ledger. Rows are in the tables as soon as they are inserted."""
        if self.books is not None:
            self.books.commit()

    def rollback(self) -> None:
        """See Db.rollback: of the ledger."""
        if self.books is not None:
            self.books.rollback()

    def savepoint(self, name: str) -> None:
        """See Db.savepoint. A block is inserted as a whole or not at all, so there is nothing to mark."""

    def rollback_to(self, name: str) -> None:
        """See `savepoint`."""

    def release(self, name: str) -> None:
        """See `savepoint`."""

    def close(self) -> None:
        """See Db.close."""
        if self.books is not None:
            self.books.close()
        with suppress(*self.failures):
            self.connection.disconnect()


@dataclass(frozen=True)
class _File:
    path: str
    busy_seconds: float = 30.0

    def display(self) -> str:
        return f"the ledger {self.path}"


class Books(Db):
    """The ledger's database; a transaction begins with its first statement, so that it is held only while checkpoints
    are written."""

    def __init__(self, folder: Path):
        lasting.make_folder(folder, 0o700)
        self._db: SqliteDb = connect(_File(str(folder / "clickhouse.db")), "rwc")
        self._db.rows("PRAGMA journal_mode = wal")

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """See Db.rows."""
        self._db.begin()
        return self._db.rows(sql, params)

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """See Db.run."""
        self._db.begin()
        return self._db.run(sql, params)

    def insert_texts(self, table: str, texts: pa.Table) -> None:
        """See Db.insert_texts."""
        self._db.begin()
        self._db.insert_texts(table, texts)

    def begin(self) -> None:
        """See Db.begin."""

    def commit(self) -> None:
        """See Db.commit."""
        self._db.commit()

    def rollback(self) -> None:
        """See Db.rollback."""
        self._db.rollback()

    def close(self) -> None:
        """See Db.close."""
        self._db.rollback()
        self._db.close()


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _texts(values: Sequence[Any], field: pa.Field[Any]) -> Sequence[Any]:
    """Texts are bytes on the wire; other than ours may have written bytes that are no text."""
    if not pa.types.is_string(field.type):
        return values
    return [value.decode(errors="backslashreplace") if isinstance(value, bytes) else value for value in values]
