"""PostgreSQL's words, which openGauss, GaussDB, KingbaseES and Greenplum understand too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from tongqu.kit.tables.dialect import Dialect
from tongqu.kit.tables.native import Native, decimal
from tongqu.kit.tables.queried import Words

_INTS = {"int2": 16, "smallint": 16, "smallserial": 16, "int4": 32, "integer": 32, "serial": 32, "int": 32,
         "int8": 64, "bigint": 64, "bigserial": 64}  # fmt: skip
_TEXTS = ("text", "varchar", "character varying", "bpchar", "char", "character", "name", "citext")
_ZONED = ("timestamptz", "timestamp with time zone")
_LOCAL = ("timestamp", "timestamp without time zone")

_SIMPLE: dict[str, pa.DataType] = {
    "bool": pa.bool_(), "boolean": pa.bool_(), "float4": pa.float32(), "real": pa.float32(),
    "float8": pa.float64(), "double precision": pa.float64(), "bytea": pa.binary(), "date": pa.date32(),
    "time": pa.time64("us"), "time without time zone": pa.time64("us"),
}  # fmt: skip
_BUILT_IN = {
    *_INTS, *_TEXTS, *_ZONED, *_LOCAL, *_SIMPLE, "numeric", "decimal", "uuid", "json", "jsonb", "xml", "interval",
    "bit", "bit varying", "varbit", "money", "inet", "cidr", "macaddr", "point", "line", "lseg", "box", "path",
    "polygon", "circle", "tsvector", "tsquery", "int4range", "int8range", "numrange", "daterange", "tsrange",
    "tstzrange", "time with time zone", "timetz",
} - {"citext"}  # fmt: skip

_TABLE = (
    "JOIN pg_class c ON c.oid = {} JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ? AND c.relname = ?"
)
_PLACES = "CROSS JOIN generate_series(0, 31) AS g(n)"
_WORDS = Words(
    schema="SELECT current_schema()",
    names=(
        "SELECT c.relname, CASE WHEN c.relkind = 'v' THEN 1 ELSE 0 END FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE n.nspname = ? AND c.relkind IN ('r', 'p', 'v', 'f'){one} ORDER BY 1"
    ),
    one=" AND c.relname = ?",
    whole=(
        " AND NOT EXISTS (SELECT 1 FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent "
        "WHERE h.inhrelid = c.oid AND p.relkind = 'p')"
    ),
    columns=(
        "SELECT i.column_name, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 0 ELSE 1 END, "
        "i.column_default, CASE WHEN i.is_generated = 'ALWAYS' THEN 'stored' END, "
        "CASE WHEN i.is_identity = 'YES' THEN 1 ELSE 0 END, col_description(c.oid, a.attnum) "
        "FROM information_schema.columns i JOIN pg_namespace n ON n.nspname = i.table_schema "
        "JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = i.table_name "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = i.column_name "
        "WHERE i.table_schema = ? AND i.table_name = ? ORDER BY i.ordinal_position"
    ),
    primary=(
        f"SELECT a.attname FROM pg_index x {_PLACES} JOIN pg_attribute a ON a.attrelid = x.indrelid "
        f"AND a.attnum = x.indkey[g.n] {_TABLE.format('x.indrelid')} AND x.indisprimary ORDER BY g.n"
    ),
    indexes=(
        f"SELECT k.relname, CASE WHEN x.indisunique THEN 1 ELSE 0 END, a.attname FROM pg_index x "
        f"JOIN pg_class k ON k.oid = x.indexrelid {_PLACES} JOIN pg_attribute a ON a.attrelid = x.indrelid "
        f"AND a.attnum = x.indkey[g.n] {_TABLE.format('x.indrelid')} AND NOT x.indisprimary AND x.indpred IS NULL "
        "AND x.indexprs IS NULL ORDER BY k.relname, g.n"
    ),
    foreign=(
        f"SELECT k.conname, a.attname, m.nspname, r.relname, b.attname FROM pg_constraint k {_PLACES} "
        "JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[g.n + 1] "
        "JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[g.n + 1] "
        "JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace m ON m.oid = r.relnamespace "
        f"{_TABLE.format('k.conrelid')} AND k.contype = 'f' ORDER BY k.conname, g.n"
    ),
    about=(
        f"SELECT obj_description(c.oid, 'pg_class'), CAST(c.reltuples AS bigint) FROM (SELECT 1 AS one) AS o "
        f"{_TABLE.format('c.oid')}"
    ),
)


class Postgres(Dialect):
    """PostgreSQL and its relatives through a driver that is not its own."""

    name = "postgres"
    system = "postgres"
    sqlglot = "postgres"
    columns_fold: ClassVar[bool] = False
    merge: ClassVar[str] = "update from"
    swaps: ClassVar[bool] = True
    parameters: ClassVar[int] = 7_000  # libpq loses its place when more of them are described
    arrays: ClassVar[bool] = True
    overriding: ClassVar[str] = " OVERRIDING SYSTEM VALUE"
    ledger_types: ClassVar[dict[str, str]] = {"id": 'varchar(255) COLLATE "C"', "text": "text", "long": "bigint"}
    instant: ClassVar[str] = "timestamptz"
    words: ClassVar[Words | None] = _WORDS
    snapshot: ClassVar[tuple[str, ...]] = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",)
    sharing: ClassVar[tuple[str, str]] = ("SELECT pg_export_snapshot()", "SET TRANSACTION SNAPSHOT {}")

    def lengths(self, sql: str, columns: int, places: Sequence[int]) -> str:
        """See Dialect.lengths."""
        greatest = ", ".join(f"MAX(OCTET_LENGTH(q.c{at})) AS l{at}" for at in places)
        return f"SELECT {greatest} FROM ({sql}) AS q({', '.join(f'c{at}' for at in range(columns))})"

    def moment(self, text: str) -> str:
        """See Dialect.moment."""
        return f"TIMESTAMPTZ {self.literal(text + '+00')}"

    def kind(self, native: Native) -> tuple[pa.DataType, str] | None:
        """See Dialect.kind."""
        name = native.name
        if name in _INTS:
            return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[_INTS[name]], ""
        if name in ("numeric", "decimal"):
            return decimal(*native.arguments[:2]) if len(native.arguments) > 1 else (pa.string(), "decimal")
        if name in ("uuid", "json", "jsonb", "xml", "interval"):
            return pa.string(), name.removesuffix("b")
        if name in _TEXTS:
            return pa.string(), ""
        if name in _SIMPLE:
            return _SIMPLE[name], ""
        if name in _ZONED:
            return pa.timestamp("us", "UTC"), ""
        return (pa.timestamp("us"), "") if name in _LOCAL else (pa.string(), "text")

    def has(self, native: str) -> bool:
        """See Dialect.has."""
        return Native.parse(native).name.replace("[]", "") in _BUILT_IN

    def made(self, kind: str) -> str:
        """See Dialect.made."""
        names = {"bool": "boolean", "int8": "int2", "uint8": "int2", "int16": "int2", "uint16": "int4",
                 "int32": "int4", "uint32": "int8", "int64": "int8", "uint64": "numeric(20,0)", "float32": "float4",
                 "float64": "float8", "timestamp": "timestamp", "binary": "bytea", "key binary": "bytea"}  # fmt: skip
        return names.get(kind, kind)

    def number(self, precision: int, scale: int) -> str:
        """See Dialect.number."""
        return f"numeric({precision},{scale})"

    def text(self, length: int | None, *, key: bool) -> str:
        """See Dialect.text."""
        bounded = f"varchar({length})" if length else "text"
        return f'{bounded} COLLATE "C"' if key else bounded

    def readable(self, expression: str, native: Native) -> str:
        """See Dialect.readable."""
        kind = self.kind(native)
        if native.name in _ZONED:
            return f"CAST({expression} AT TIME ZONE 'UTC' AS text)"
        if kind is None or native.name in (*_INTS, "bool", "boolean", "bytea", *_TEXTS):
            return expression
        return f"CAST({expression} AS text)"

    def hole(self, native: Native) -> str:
        """See Dialect.hole."""
        if native.name in _ZONED:
            return "CAST(? AS timestamp) AT TIME ZONE 'UTC'"
        if native.name in (*_TEXTS, "bytea", "bool", "boolean"):
            return "?"
        digits = f"({','.join(map(str, native.arguments))})" if native.arguments else ""
        return f"CAST(? AS {native.name}{digits})"

    def exact(self, expression: str, native: Native) -> str:
        """See Dialect.exact. Bytes, not collations or the json type, tell values apart."""
        if native.name in (*_TEXTS, "json", "jsonb", "xml"):
            return f"convert_to(CAST({expression} AS text), 'UTF8')"
        return expression

    def bound(self, expression: str, native: Native) -> str:
        """See Dialect.bound."""
        return f"CAST({expression} AS text)"

    def bound_literal(self, text: str, native: Native) -> str:
        """See Dialect.bound_literal."""
        plain = super().bound_literal(text, native)
        return f"CAST({plain} AS {native.name})" if native.name in (*_ZONED, *_LOCAL, "date", "time", "uuid") else plain

    def page(self, sql: str, rows: int, skip: int = 0) -> str:
        """See Dialect.page."""
        return f"{sql} LIMIT {rows} OFFSET {skip}"

    def session(self, *, reading: bool) -> Sequence[str]:
        """See Dialect.session."""
        del reading
        return ["SET TIME ZONE 'UTC'", "SET extra_float_digits = 3"]

    def create_schema(self, schema: str) -> list[str]:
        """See Dialect.create_schema."""
        return [f"CREATE SCHEMA IF NOT EXISTS {self.quote(schema)}"]

    def create_like(self, table: str, like: str, columns: Sequence[str]) -> str:
        """See Dialect.create_like."""
        del columns
        return f"CREATE TABLE {table} (LIKE {like} INCLUDING ALL EXCLUDING INDEXES)"

    def ago(self, seconds: int, native: Native, zone: str) -> str:
        """See Dialect.ago."""
        now = f"(clock_timestamp() - INTERVAL '{seconds} seconds')"
        if native.name not in _ZONED:
            now = f"({now} AT TIME ZONE {self.literal(zone or 'UTC')})"
        return f"CAST({now} AS {native.name})"

    def retype(self, table: str, column: str, native: str, *, nullable: bool, loosen: bool) -> list[str]:
        """See Dialect.retype."""
        del nullable
        alter = f"ALTER TABLE {table} ALTER COLUMN {self.quote(column)}"
        return [f"{alter} TYPE {native}", *([f"{alter} DROP NOT NULL"] if loosen else [])]

    def oldest_writer(self) -> str:
        """See Dialect.oldest_writer."""
        return (
            "SELECT CEIL(EXTRACT(EPOCH FROM clock_timestamp() - MIN(xact_start))) FROM pg_stat_activity "
            "WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database()"
        )

    def writers(self) -> str:
        """See Dialect.writers."""
        return (
            "SELECT CAST(backend_xid AS text) FROM pg_stat_activity WHERE backend_xid IS NOT NULL "
            "AND pid <> pg_backend_pid() AND datname = current_database()"
        )

    def pinned(self, schema: str, table: str) -> tuple[str, ...]:
        """See Dialect.pinned."""
        del schema, table
        keys = "SELECT 'foreign key ' || k.conname FROM pg_constraint k"
        return (
            f"{keys} {_TABLE.format('k.confrelid')} AND k.contype = 'f'",
            f"{keys} {_TABLE.format('k.conrelid')} AND k.contype = 'f'",
            f"SELECT 'trigger ' || g.tgname FROM pg_trigger g {_TABLE.format('g.tgrelid')} AND NOT g.tgisinternal",
            "SELECT DISTINCT 'view ' || v.relname FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid "
            f"JOIN pg_class v ON v.oid = r.ev_class {_TABLE.format('d.refobjid')} AND v.oid <> c.oid",
            f"SELECT 'grants on ' || c.relname FROM (SELECT 1 AS one) AS o {_TABLE.format('c.oid')} "
            "AND c.relacl IS NOT NULL",
        )


dialect = Postgres()
