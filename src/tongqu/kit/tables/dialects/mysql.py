"""The words of MariaDB, MySQL and their relatives, for drivers that are not their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from tongqu.core.errors import BusyError, ConnectError, NotFoundError, PrivilegeError, RefusedRowsError, TongquError
from tongqu.kit.tables.dialect import SEQUENCE, Dialect
from tongqu.kit.tables.native import Native, decimal
from tongqu.kit.tables.queried import Words

_INTS = {"tinyint": 8, "smallint": 16, "mediumint": 32, "int": 32, "bigint": 64}
_TEXTS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext")
_BYTES = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_BIN = "utf8mb4_bin"
_NOW = "UTC_TIMESTAMP(6)"
_WORDS = Words(
    schema="SELECT DATABASE()",
    names=(
        "SELECT TABLE_NAME, CASE WHEN TABLE_TYPE LIKE '%VIEW' THEN 1 ELSE 0 END FROM information_schema.TABLES "
        "WHERE TABLE_SCHEMA = ?{one} ORDER BY 1"
    ),
    one=" AND TABLE_NAME = ?",
    columns=(
        "SELECT COLUMN_NAME, CONCAT(COLUMN_TYPE, CASE WHEN COLLATION_NAME IS NULL THEN '' ELSE "
        "CONCAT(' COLLATE ', COLLATION_NAME) END), CASE WHEN IS_NULLABLE = 'YES' THEN 1 ELSE 0 END, "
        "NULLIF(COLUMN_DEFAULT, 'NULL'), CASE WHEN EXTRA LIKE '%STORED%' THEN 'stored' WHEN EXTRA LIKE '%VIRTUAL%' "
        "THEN 'virtual' END, CASE WHEN EXTRA LIKE '%auto_increment%' THEN 1 ELSE 0 END, COLUMN_COMMENT "
        "FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION"
    ),
    primary=(
        "SELECT COLUMN_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? "
        "AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX"
    ),
    indexes=(
        "SELECT s.INDEX_NAME, 1 - s.NON_UNIQUE, s.COLUMN_NAME FROM information_schema.STATISTICS s "
        "WHERE s.TABLE_SCHEMA = ? AND s.TABLE_NAME = ? AND s.INDEX_NAME <> 'PRIMARY' AND NOT EXISTS (SELECT 1 FROM "
        "information_schema.STATISTICS p WHERE p.TABLE_SCHEMA = s.TABLE_SCHEMA AND p.TABLE_NAME = s.TABLE_NAME "
        "AND p.INDEX_NAME = s.INDEX_NAME AND (p.SUB_PART IS NOT NULL OR p.COLUMN_NAME IS NULL)) "
        "ORDER BY s.INDEX_NAME, s.SEQ_IN_INDEX"
    ),
    foreign=(
        "SELECT CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME "
        "FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? "
        "AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY CONSTRAINT_NAME, ORDINAL_POSITION"
    ),
    about=(
        "SELECT CASE WHEN TABLE_TYPE LIKE '%VIEW' THEN '' ELSE TABLE_COMMENT END, TABLE_ROWS "
        "FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
    ),
)
_MEANT: tuple[tuple[tuple[str, ...], type[TongquError]], ...] = (
    (("Duplicate entry", "cannot be null", "Data too long", "Out of range", "Incorrect", "foreign key constraint fails",
      "doesn't have a default", "CONSTRAINT", "Data truncated"), RefusedRowsError),
    (("command denied", "Access denied"), PrivilegeError),
    (("doesn't exist", "Unknown column", "Unknown table", "Unknown database"), NotFoundError),
    (("Lock wait timeout",), BusyError),
    (("Deadlock", "gone away", "Lost connection"), ConnectError),
)  # fmt: skip


class Mysql(Dialect):
    """MariaDB and MySQL in a strict session in UTC. DDL ends transactions; temporary tables do not."""

    name = "mysql"
    system = "mysql"
    finite: ClassVar[bool] = True
    sqlglot = "mysql"
    ddl_commits: ClassVar[bool] = True
    merge: ClassVar[str] = "update join"
    ledger_types: ClassVar[dict[str, str]] = {
        "id": f"varchar(255) CHARACTER SET utf8mb4 COLLATE {_BIN}",
        "text": f"longtext CHARACTER SET utf8mb4 COLLATE {_BIN}",
        "long": "bigint",
    }
    instant: ClassVar[str] = "datetime(6)"
    zoneless: ClassVar[bool] = True
    words: ClassVar[Words | None] = _WORDS

    def quote(self, name: str) -> str:
        """See Dialect.quote."""
        return "`" + name.replace("`", "``") + "`"

    def literal(self, text: str) -> str:
        """See Dialect.literal."""
        return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\0", "\\0") + "'"

    def moment(self, text: str) -> str:
        """See Dialect.moment."""
        return f"CAST({self.literal(text)} AS datetime(6))"

    def kind(self, native: Native) -> tuple[pa.DataType, str] | None:
        """See Dialect.kind."""
        words = native.name.split(" ")
        name = words[0]
        if name in _INTS:
            bits, unsigned = _INTS[name], "unsigned" in words
            if name == "tinyint" and native.arguments == (1,):
                return pa.bool_(), ""
            signed = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
            return ({8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()} if unsigned else signed)[
                bits
            ], ""
        if name in ("decimal", "numeric"):
            return decimal(native.argument(0, 10), native.argument(1, 0))
        if name in _TEXTS or name in ("enum", "set", "json", "uuid"):
            return pa.string(), name if name in ("json", "uuid", "enum") else ""
        if name in _BYTES:
            return pa.binary(), ""
        simple: dict[str, pa.DataType] = {
            "year": pa.int16(), "float": pa.float32(), "double": pa.float64(), "date": pa.date32(),
            "time": pa.time64("us"), "datetime": pa.timestamp("us"), "timestamp": pa.timestamp("us", "UTC"),
        }  # fmt: skip
        return (simple[name], "") if name in simple else None

    def made(self, kind: str) -> str:
        """See Dialect.made."""
        names = {"bool": "tinyint(1)", "int8": "tinyint", "uint8": "tinyint unsigned", "int16": "smallint",
                 "uint16": "smallint unsigned", "int32": "int", "uint32": "int unsigned", "int64": "bigint",
                 "uint64": "bigint unsigned", "float32": "float", "float64": "double", "timestamp": "datetime(6)",
                 "time": "time(6)", "binary": "longblob", "key binary": "varbinary(1000)",
                 "uuid": f"char(36) CHARACTER SET utf8mb4 COLLATE {_BIN}", "json": "json"}  # fmt: skip
        return names.get(kind, kind)

    def text(self, length: int | None, *, key: bool) -> str:
        """See Dialect.text."""
        exact = " CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin" if key else ""
        if length and length <= self.key_chars:
            return f"varchar({length}){exact}"
        return f"varchar({self.key_chars}){exact}" if key else "longtext CHARACTER SET utf8mb4"

    def number(self, precision: int, scale: int) -> str:
        """See Dialect.number."""
        fits = precision <= 65 and scale <= 30
        return f"decimal({precision},{scale})" if fits else ""

    def indexable(self, native: str) -> bool:
        """See Dialect.indexable."""
        name = native.split("(", maxsplit=1)[0].split(" ", maxsplit=1)[0].lower()
        return not (name == "json" or name.endswith(("text", "blob")))

    def readable(self, expression: str, native: Native) -> str:
        """See Dialect.readable."""
        name = native.name.split(" ")[0]
        if name in ("time", "datetime", "timestamp", "date", "decimal", "numeric") or "unsigned" in native.name:
            return f"CAST({expression} AS char)"
        return f"CAST({expression} AS double)" if name == "float" else expression

    def hole(self, native: Native) -> str:
        """See Dialect.hole."""
        name = native.name.split(" ")[0]
        if name in ("decimal", "numeric"):
            return f"CAST(? AS decimal({native.argument(0, 10)},{native.argument(1, 0)}))"
        return "?"

    def exact(self, expression: str, native: Native) -> str:
        """See Dialect.exact."""
        name = native.name.split(" ")[0]
        if name == "json":
            return f"CAST(CAST({expression} AS char) AS binary)"
        return f"CAST({expression} AS binary)" if name in (*_TEXTS, *_BYTES, "enum", "set", "uuid") else expression

    def bound(self, expression: str, native: Native) -> str:
        """See Dialect.bound."""
        return f"CAST({expression} AS char)"

    def page(self, sql: str, rows: int, skip: int = 0) -> str:
        """See Dialect.page."""
        return f"{sql} LIMIT {rows} OFFSET {skip}"

    def session(self, *, reading: bool) -> Sequence[str]:
        """See Dialect.session."""
        strict = "STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO"
        level = "REPEATABLE READ" if reading else "READ COMMITTED"
        return [f"SET SESSION time_zone = '+00:00', sql_mode = '{strict}'",
                f"SET SESSION TRANSACTION ISOLATION LEVEL {level}"]  # fmt: skip

    def titles(self, schema: str, table: str, title: str, columns: dict[str, str]) -> list[str]:
        """See Dialect.titles. A column's comment would need its whole definition again: only the table's is stored."""
        del columns
        return [f"ALTER TABLE {self.place(schema, table)} COMMENT = {self.literal(title[:2048])}"] if title else []

    def retype(self, table: str, column: str, native: str, *, nullable: bool, loosen: bool) -> list[str]:
        """See Dialect.retype."""
        del loosen
        return [f"ALTER TABLE {table} MODIFY COLUMN {self.quote(column)} {native}{'' if nullable else ' NOT NULL'}"]

    def create_chunk(self, chunk: str, query: str) -> list[str]:
        """See Dialect.create_chunk."""
        return [f"DROP TEMPORARY TABLE IF EXISTS {chunk}", f"CREATE TEMPORARY TABLE {chunk} AS {query} WHERE 1 = 0"]

    def delete(self, table: str, alias: str, where: str) -> str:
        """See Dialect.delete."""
        return f"DELETE {alias} FROM {table} AS {alias} WHERE {where}"

    def superseded(self, table: str, key: Sequence[str]) -> str:
        """See Dialect.superseded."""
        same = " AND ".join(f"b.{n} = a.{n}" for n in map(self.quote, key))
        later = f"b.{self.quote(SEQUENCE)} > a.{self.quote(SEQUENCE)}"
        return f"DELETE a FROM {table} AS a JOIN {table} AS b ON {same} AND {later}"

    def update(self, table: str, source: str, sets: Sequence[tuple[str, str]], on: str, where: str) -> str:
        """See Dialect.update."""
        pairs = ", ".join(f"t.{name} = {value}" for name, value in sets)
        return f"UPDATE {table} AS t JOIN {source} AS s ON {on} SET {pairs} WHERE {where}"

    def ago(self, seconds: int, native: Native, zone: str) -> str:
        """See Dialect.ago."""
        del zone
        kind = "date" if native.name == "date" else "datetime(6)"
        return f"CAST({_NOW} - INTERVAL {seconds} SECOND AS {kind})"

    def oldest_writer(self) -> str:
        """See Dialect.oldest_writer."""
        return (
            "SELECT MAX(TIMESTAMPDIFF(SECOND, trx_started, SYSDATE())) FROM information_schema.INNODB_TRX "
            "WHERE trx_mysql_thread_id <> CONNECTION_ID() AND trx_rows_modified > 0"
        )

    def writers(self) -> str:
        """See Dialect.writers."""
        return (
            "SELECT trx_id FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id <> CONNECTION_ID() "
            "AND trx_rows_modified > 0"
        )

    def meaning(self, state: str, text: str) -> type[TongquError] | None:
        """See Dialect.meaning. Its drivers say HY000 for nearly everything."""
        if state[:2] in ("28", "08"):
            return None
        return next((kind for words, kind in _MEANT if any(word in text for word in words)), None)


dialect = Mysql()
