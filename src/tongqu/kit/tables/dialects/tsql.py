"""SQL Server's words (2016 and newer, Azure SQL too)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from tongqu.core.errors import PrivilegeError, RefusedRowsError, TongquError
from tongqu.kit.tables.dialect import Dialect
from tongqu.kit.tables.dialects.code_pages import code_page
from tongqu.kit.tables.dialects.tsql_catalogue import WHERE, WORDS
from tongqu.kit.tables.native import Native, decimal
from tongqu.kit.tables.queried import Words

_INTS = {"tinyint": pa.uint8(), "smallint": pa.int16(), "int": pa.int32(), "bigint": pa.int64()}
_TEXTS = ("char", "varchar", "nchar", "nvarchar", "text", "ntext", "sysname")
_BYTES = ("binary", "varbinary", "image")
_VERSIONS = ("timestamp", "rowversion")
_EXACT = "COLLATE Latin1_General_100_BIN2"
_OTHERS = (
    "FROM sys.dm_tran_active_transactions t JOIN sys.dm_tran_session_transactions s "
    "ON s.transaction_id = t.transaction_id JOIN sys.dm_tran_database_transactions d "
    "ON d.transaction_id = t.transaction_id WHERE s.session_id <> @@SPID AND d.database_id = DB_ID() "
    "AND d.database_transaction_log_bytes_used > 0"
)
_FROM = re.compile(r" FROM (.+?) WHERE ")
_NUMBER = re.compile(r"\(([0-9]{1,10})\)(?: \(SQL\w+\))?$")
"""The server's own number of an error, as ODBC ends a message."""
_OWN_NUMBERS = 50_000
"""From there on they are those of triggers and procedures (THROW, RAISERROR)."""


class Tsql(Dialect):
    """SQL Server: DDL is transactional, tables are exchanged by sp_rename, keys are compared by code point."""

    name = "tsql"
    system = "mssql"
    sqlglot = "tsql"
    swaps: ClassVar[bool] = True
    finite: ClassVar[bool] = True
    instant: ClassVar[str] = "datetimeoffset(6)"
    truth: ClassVar[tuple[str, str]] = ("1", "0")
    parameters: ClassVar[int] = 2000
    words: ClassVar[Words | None] = WORDS
    ledger_types: ClassVar[dict[str, str]] = {
        "id": f"nvarchar(255) {_EXACT}", "text": f"nvarchar(max) {_EXACT}", "long": "bigint",
    }  # fmt: skip

    def quote(self, name: str) -> str:
        """See Dialect.quote."""
        return "[" + name.replace("]", "]]") + "]"

    def literal(self, text: str) -> str:
        """See Dialect.literal."""
        return "N'" + text.replace("'", "''") + "'"

    def moment(self, text: str) -> str:
        """See Dialect.moment."""
        return f"CAST({self.literal(text + ' +00:00')} AS datetimeoffset(6))"

    # ---- types

    def kind(self, native: Native) -> tuple[pa.DataType, str] | None:
        """See Dialect.kind. The seventh digit of moments and times is cut: Arrow's microseconds have six."""
        name = _word(native)
        if name in _INTS:
            return _INTS[name], ""
        if name in _VERSIONS:
            return pa.int64(), ""
        if name in ("decimal", "numeric"):
            return decimal(native.argument(0, 18), native.argument(1, 0))
        if name in ("money", "smallmoney"):
            return pa.decimal128(19 if name == "money" else 10, 4), ""
        if name == "float":
            return (pa.float32() if native.argument(0, 53) <= 24 else pa.float64()), ""
        if name in _TEXTS:
            return pa.string(), ""
        if name in ("uniqueidentifier", "xml", "json", "hierarchyid", "sql_variant"):
            return pa.string(), {"uniqueidentifier": "uuid", "xml": "xml", "json": "json"}.get(name, "text")
        if name in _BYTES:
            return pa.binary(), ""
        simple: dict[str, pa.DataType] = {
            "bit": pa.bool_(), "real": pa.float32(), "date": pa.date32(), "time": pa.time64("us"),
            "datetime": pa.timestamp("us"), "smalldatetime": pa.timestamp("us"), "datetime2": pa.timestamp("us"),
            "datetimeoffset": pa.timestamp("us", "UTC"),
        }  # fmt: skip
        return (simple[name], "") if name in simple else None

    def made(self, kind: str) -> str:
        """See Dialect.made."""
        names = {"bool": "bit", "int8": "smallint", "uint8": "tinyint", "int16": "smallint", "uint16": "int",
                 "int32": "int", "uint32": "bigint", "int64": "bigint", "uint64": "decimal(20,0)", "float32": "real",
                 "float64": "float(53)", "timestamp": "datetime2(6)", "time": "time(6)", "binary": "varbinary(max)",
                 "key binary": "varbinary(450)", "uuid": "uniqueidentifier", "json": "nvarchar(max)"}  # fmt: skip
        return names.get(kind, kind)

    def text(self, length: int | None, *, key: bool) -> str:
        """See Dialect.text. Lengths count UTF-16 units, of which a rare character takes two."""
        if length and length <= 2000:
            bounded = f"nvarchar({length * 2})"
            return f"{bounded} {_EXACT}" if key else bounded
        return f"nvarchar({self.key_chars}) {_EXACT}" if key else "nvarchar(max)"

    def indexable(self, native: str) -> bool:
        """See Dialect.indexable."""
        found = Native.parse(native)
        return not found.unbounded and _word(found) not in ("text", "ntext", "image", "xml", "json", "sql_variant")

    # ---- values

    def readable(self, expression: str, native: Native) -> str:
        """See Dialect.readable. What has seven digits is cut as text, since a cast would round it up."""
        name, digits = _word(native), native.argument(0, 7)
        if name == "datetimeoffset":
            utc = f"SWITCHOFFSET({expression}, '+00:00')"
            return f"LEFT(CONVERT(varchar(34), {utc}, 121), {19 if digits == 0 else 20 + min(digits, 6)})"
        if name == "datetime2" and digits > 6:
            return f"LEFT(CONVERT(varchar(27), {expression}, 121), 26)"
        if name == "time":
            return f"LEFT(CONVERT(varchar(16), {expression}, 121), 15)"
        plain = {
            "money": f"CAST({expression} AS decimal(19,4))", "smallmoney": f"CAST({expression} AS decimal(10,4))",
            "uniqueidentifier": f"LOWER(CONVERT(char(36), {expression}))", "hierarchyid": f"{expression}.ToString()",
            "xml": f"CONVERT(nvarchar(max), {expression})", "json": f"CONVERT(nvarchar(max), {expression})",
            "sql_variant": f"CONVERT(nvarchar(4000), {expression})", "timestamp": f"CAST({expression} AS bigint)",
        }  # fmt: skip
        return plain.get("timestamp" if name == "rowversion" else name, expression)

    def hole(self, native: Native) -> str:
        """See Dialect.hole."""
        name = _word(native)
        if name == "datetimeoffset":
            return "TODATETIMEOFFSET(CAST(? AS datetime2(6)), '+00:00')"
        if name in _BYTES:
            return "CAST(? AS varbinary(max))"
        if name in (*_TEXTS, "json") or name in _INTS or name in ("bit", "float", "real"):
            return "?"
        digits = f"({','.join(map(str, native.arguments))})" if native.arguments else ""
        return f"CAST(? AS {name}{digits})"

    def differs(self, left: str, right: str, native: Native) -> str:
        """See Dialect.differs. Texts and bytes are compared with their lengths: blanks and zeros at the end count."""
        name = _word(native)
        if name not in (*_TEXTS, *_BYTES, "xml", "json", "hierarchyid"):
            return super().differs(left, right, native)
        cast = (
            "CAST(CAST({} AS nvarchar(max)) AS varbinary(max))" if name not in _BYTES else "CAST({} AS varbinary(max))"
        )
        one, other = cast.format(left), cast.format(right)
        same = f"({one} = {other} AND DATALENGTH({one}) = DATALENGTH({other}))"
        return f"CASE WHEN {same} OR ({left} IS NULL AND {right} IS NULL) THEN 0 ELSE 1 END = 1"

    def codec(self, native: str, database: str) -> str:
        """See Dialect.codec."""
        del database
        return code_page(native) if _word(Native.parse(native)) in ("char", "varchar", "text") else ""

    def orders(self, native: Native) -> bool:
        """See Dialect.orders."""
        return super().orders(native) and not native.unbounded and _word(native) not in ("text", "ntext")

    def bound(self, expression: str, native: Native) -> str:
        """See Dialect.bound."""
        name = _word(native)
        if name in _TEXTS:
            return expression
        if name in _VERSIONS:
            return f"CONVERT(varchar(20), CAST({expression} AS bigint))"
        style = {
            "date": 23,
            "datetime2": 121,
            "datetimeoffset": 121,
            "datetime": 126,
            "smalldatetime": 126,
            "time": 121,
        }
        return f"CONVERT(varchar(60), {expression}{f', {style[name]}' if name in style else ''})"

    def bound_literal(self, text: str, native: Native) -> str:
        """See Dialect.bound_literal."""
        name = _word(native)
        if name in _VERSIONS:
            return f"CAST(CAST({text} AS bigint) AS binary(8))"
        if name in ("datetime", "smalldatetime"):
            return f"CONVERT({name}, {self.literal(text)}, 126)"
        if name in ("date", "datetime2", "datetimeoffset", "time", "uniqueidentifier"):
            return f"CAST({self.literal(text)} AS {name})"
        return super().bound_literal(text, native)

    # ---- statements

    def create_missing(self, table: str, columns: str) -> str:
        """See Dialect.create_missing."""
        return f"IF OBJECT_ID({self.literal(table)}, N'U') IS NULL CREATE TABLE {table} ({columns})"

    def locking(self, sql: str) -> str:
        """See Dialect.locking."""
        return _FROM.sub(r" FROM \1 WITH (UPDLOCK, HOLDLOCK) WHERE ", sql, count=1)

    def savepoint(self, name: str) -> str:
        """See Dialect.savepoint."""
        return f"SAVE TRANSACTION {name}"

    def rollback_to(self, name: str) -> str:
        """See Dialect.rollback_to."""
        return f"ROLLBACK TRANSACTION {name}"

    def release(self, name: str) -> str:
        """See Dialect.release."""
        del name
        return ""

    def session(self, *, reading: bool) -> Sequence[str]:
        """See Dialect.session."""
        said = ["SET XACT_ABORT OFF", "SET DATEFORMAT ymd", "SET ANSI_WARNINGS ON", "SET ARITHABORT ON"]
        if reading:
            said.append(
                "IF (SELECT snapshot_isolation_state FROM sys.databases WHERE database_id = DB_ID()) = 1 "
                "SET TRANSACTION ISOLATION LEVEL SNAPSHOT"
            )
        return said

    def rename(self, schema: str, old: str, new: str) -> str:
        """See Dialect.rename."""
        return f"EXEC sp_rename {self.literal(self.place(schema, old))}, {self.literal(new)}"

    def rename_column(self, schema: str, table: str, old: str, new: str) -> str:
        """See Dialect.rename_column."""
        place = f"{self.place(schema, table)}.{self.quote(old)}"
        return f"EXEC sp_rename {self.literal(place)}, {self.literal(new)}, N'COLUMN'"

    def add_columns(self, table: str, definitions: Sequence[str]) -> list[str]:
        """See Dialect.add_columns."""
        return [f"ALTER TABLE {table} ADD {', '.join(definitions)}"]

    def key(self, table: str, columns: Sequence[tuple[str, str]]) -> list[str]:
        """See Dialect.key."""
        strict = [f"ALTER TABLE {table} ALTER COLUMN {self.quote(name)} {native} NOT NULL" for name, native in columns]
        return [*strict, *super().key(table, columns)]

    def retype(self, table: str, column: str, native: str, *, nullable: bool, loosen: bool) -> list[str]:
        """See Dialect.retype."""
        del loosen
        return [f"ALTER TABLE {table} ALTER COLUMN {self.quote(column)} {native} {'NULL' if nullable else 'NOT NULL'}"]

    def titles(self, schema: str, table: str, title: str, columns: dict[str, str]) -> list[str]:
        """See Dialect.titles."""
        where = f"@level0type = N'SCHEMA', @level0name = {self.literal(schema)}, @level1type = N'TABLE', "
        where += f"@level1name = {self.literal(table)}"
        said = [
            ("", title),
            *((f", @level2type = N'COLUMN', @level2name = {self.literal(n)}", t) for n, t in columns.items()),
        ]
        begin = "EXEC sys.sp_addextendedproperty @name = N'MS_Description', @value = "
        return [f"{begin}{self.literal(text[:3750])}, {where}{more}" for more, text in said if text]

    def create_as(self, table: str, query: str) -> str:
        """See Dialect.create_as. Beside itself a query gives no identity column."""
        return f"SELECT * INTO {table} FROM ({query} WHERE 1 = 0 UNION ALL {query} WHERE 1 = 0) AS q"

    def create_chunk(self, chunk: str, query: str) -> list[str]:
        """See Dialect.create_chunk."""
        return [f"DROP TABLE IF EXISTS {chunk}", self.create_as(chunk, query)]

    def chunk(self, schema: str, name: str) -> str:
        """See Dialect.chunk."""
        del schema
        return self.quote(f"#{name}")

    def inserting(self, table: str, *, on: bool) -> str:
        """See Dialect.inserting."""
        return f"SET IDENTITY_INSERT {table} {'ON' if on else 'OFF'}"

    def delete(self, table: str, alias: str, where: str) -> str:
        """See Dialect.delete."""
        return f"DELETE {alias} FROM {table} AS {alias} WHERE {where}"

    def update(self, table: str, source: str, sets: Sequence[tuple[str, str]], on: str, where: str) -> str:
        """See Dialect.update."""
        pairs = ", ".join(f"{name} = {value}" for name, value in sets)
        return f"UPDATE t SET {pairs} FROM {table} AS t JOIN {source} AS s ON {on} WHERE {where}"

    def update_alone(self, table: str, sets: Sequence[tuple[str, str]], where: str) -> str:
        """See Dialect.update_alone."""
        return f"UPDATE t SET {', '.join(f'{name} = {value}' for name, value in sets)} FROM {table} AS t WHERE {where}"

    def merged(
        self, table: str, source: str, on: str, *, sets: Sequence[tuple[str, str]], where: str, names: Sequence[str]
    ) -> str:
        """See Dialect.merged."""
        said = super().merged(f"{table} WITH (HOLDLOCK)", source, on, sets=sets, where=where, names=names)
        return f"{said};"

    # ---- what others are doing

    def held(self, expression: str, native: Native) -> str:
        """See Dialect.held."""
        return f"{expression} < MIN_ACTIVE_ROWVERSION()" if _word(native) in _VERSIONS else ""

    def oldest_writer(self) -> str:
        """See Dialect.oldest_writer."""
        return f"SELECT DATEDIFF(second, MIN(t.transaction_begin_time), GETDATE()) {_OTHERS}"

    def writers(self) -> str:
        """See Dialect.writers."""
        return f"SELECT CAST(t.transaction_id AS varchar(20)) {_OTHERS}"

    def ago(self, seconds: int, native: Native, zone: str) -> str:
        """See Dialect.ago."""
        name, moment = _word(native), f"DATEADD(second, -{seconds}, SYSUTCDATETIME())"
        if name == "datetimeoffset":
            return f"TODATETIMEOFFSET({moment}, '+00:00')"
        if zone:
            moment = f"{moment} AT TIME ZONE 'UTC' AT TIME ZONE {self.literal(zone)}"
        return f"CAST({moment} AS {name})"

    def pinned(self, schema: str, table: str) -> tuple[str, ...]:
        """See Dialect.pinned."""
        del schema, table
        named = f"JOIN sys.objects o ON o.object_id = {{}} JOIN sys.schemas s ON s.schema_id = o.schema_id {WHERE}"
        return tuple(
            f"SELECT {label} FROM {view} {named.format(column)}{also}"
            for label, view, column, also in (
                ("'foreign key ' + x.name", "sys.foreign_keys x", "x.parent_object_id", ""),
                ("'foreign key ' + x.name", "sys.foreign_keys x", "x.referenced_object_id", ""),
                ("'trigger ' + x.name", "sys.triggers x", "x.parent_id", ""),
                ("'check ' + x.name", "sys.check_constraints x", "x.parent_object_id", ""),
                ("'default ' + x.name", "sys.default_constraints x", "x.parent_object_id", ""),
                ("'computed column ' + x.name", "sys.computed_columns x", "x.object_id", ""),
                ("'identity column ' + x.name", "sys.identity_columns x", "x.object_id", ""),
                ("'right ' + x.permission_name", "sys.database_permissions x", "x.major_id", " AND x.class = 1"),
                ("'schema-bound ' + OBJECT_NAME(x.referencing_id)", "sys.sql_expression_dependencies x",
                 "x.referenced_id", " AND x.is_schema_bound_reference = 1"),
            )
        )  # fmt: skip

    def meaning(self, state: str, text: str) -> type[TongquError] | None:
        """See Dialect.meaning."""
        raised = _NUMBER.search(text)
        if raised and int(raised[1]) >= _OWN_NUMBERS:
            return RefusedRowsError
        denied = state == "42000" and ("permission was denied" in text or "permission denied" in text)
        return PrivilegeError if denied else None


def _word(native: Native) -> str:
    return native.name.split(" ")[0]


dialect = Tsql()
