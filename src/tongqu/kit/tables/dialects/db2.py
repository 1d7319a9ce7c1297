"""Db2's words (LUW 11.1 and newer)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from tongqu.kit.tables.dialect import Dialect
from tongqu.kit.tables.native import Native, decimal
from tongqu.kit.tables.queried import Words

_INTS = {"smallint": pa.int16(), "integer": pa.int32(), "int": pa.int32(), "bigint": pa.int64()}
_TEXTS = ("char", "character", "varchar", "graphic", "vargraphic")
_NATIVE = (
    "RTRIM(c.typename) || CASE WHEN c.typename IN ('CHARACTER', 'VARCHAR', 'GRAPHIC', 'VARGRAPHIC', 'BINARY', "
    "'VARBINARY', 'CLOB', 'BLOB', 'DBCLOB') THEN '(' || c.length || ')' WHEN c.typename = 'DECIMAL' "
    "THEN '(' || c.length || ',' || c.scale || ')' WHEN c.typename = 'TIMESTAMP' THEN '(' || c.scale || ')' ELSE '' END"
)
_WORDS = Words(
    schema="VALUES CURRENT SCHEMA",
    names=(
        "SELECT t.tabname, CASE t.type WHEN 'V' THEN 1 ELSE 0 END FROM syscat.tables t WHERE t.tabschema = ? "
        "AND t.type IN ('T', 'V'){one} ORDER BY t.tabname"
    ),
    one=" AND t.tabname = ?",
    columns=(
        f"SELECT c.colname, {_NATIVE}, CASE c.nulls WHEN 'Y' THEN 1 ELSE 0 END, c.default, "
        "CASE WHEN c.generated IN ('A', 'D') AND c.identity = 'N' THEN 'stored' END, "
        "CASE c.identity WHEN 'Y' THEN 1 ELSE 0 END, c.remarks FROM syscat.columns c "
        "WHERE c.tabschema = ? AND c.tabname = ? ORDER BY c.colno"
    ),
    primary=(
        "SELECT k.colname FROM syscat.keycoluse k JOIN syscat.tabconst x ON x.constname = k.constname "
        "AND x.tabschema = k.tabschema AND x.tabname = k.tabname WHERE k.tabschema = ? AND k.tabname = ? "
        "AND x.type = 'P' ORDER BY k.colseq"
    ),
    indexes=(
        "SELECT i.indname, CASE i.uniquerule WHEN 'D' THEN 0 ELSE 1 END, c.colname FROM syscat.indexes i "
        "JOIN syscat.indexcoluse c ON c.indschema = i.indschema AND c.indname = i.indname "
        "WHERE i.tabschema = ? AND i.tabname = ? AND i.uniquerule <> 'P' ORDER BY i.indname, c.colseq"
    ),
    foreign=(
        "SELECT r.constname, a.colname, r.reftabschema, r.reftabname, b.colname FROM syscat.references r "
        "JOIN syscat.keycoluse a ON a.constname = r.constname AND a.tabschema = r.tabschema AND a.tabname = r.tabname "
        "JOIN syscat.keycoluse b ON b.constname = r.refkeyname AND b.tabschema = r.reftabschema "
        "AND b.tabname = r.reftabname AND b.colseq = a.colseq WHERE r.tabschema = ? AND r.tabname = ? "
        "ORDER BY r.constname, a.colseq"
    ),
    about="SELECT t.remarks, t.card FROM syscat.tables t WHERE t.tabschema = ? AND t.tabname = ?",
)


class Db2(Dialect):
    """Db2: DDL is transactional; what a table holds is exchanged, since a renamed table may not be referred to."""

    name = "db2"
    system = "db2"
    sqlglot = ""
    folds_upper: ClassVar[bool] = True
    columns_fold: ClassVar[bool] = False
    zoneless: ClassVar[bool] = True
    instant: ClassVar[str] = "TIMESTAMP(6)"
    words: ClassVar[Words | None] = _WORDS
    ledger_types: ClassVar[dict[str, str]] = {"id": "VARCHAR(255)", "text": "CLOB(2M)", "long": "BIGINT"}

    def moment(self, text: str) -> str:
        """See Dialect.moment."""
        return f"TIMESTAMP({self.literal(text)})"

    def kind(self, native: Native) -> tuple[pa.DataType, str] | None:
        """See Dialect.kind."""
        name = native.name
        if name in _INTS:
            return _INTS[name], ""
        if name in ("decimal", "numeric"):
            return decimal(native.argument(0, 5), native.argument(1, 0))
        if name in (*_TEXTS, "clob", "dbclob", "long varchar", "xml"):
            return pa.string(), "xml" if name == "xml" else ""
        simple: dict[str, pa.DataType] = {
            "boolean": pa.bool_(), "real": pa.float32(), "double": pa.float64(), "float": pa.float64(),
            "date": pa.date32(), "time": pa.time64("us"), "timestamp": pa.timestamp("us"), "binary": pa.binary(),
            "varbinary": pa.binary(), "blob": pa.binary(),
        }  # fmt: skip
        if name == "decfloat":
            return pa.string(), "decimal"
        return (simple[name], "") if name in simple else None

    def made(self, kind: str) -> str:
        """See Dialect.made. A time of day has whole seconds only: it is kept as its text."""
        names = {"bool": "BOOLEAN", "int8": "SMALLINT", "uint8": "SMALLINT", "int16": "SMALLINT", "uint16": "INTEGER",
                 "int32": "INTEGER", "uint32": "BIGINT", "int64": "BIGINT", "uint64": "DECIMAL(20,0)",
                 "float32": "REAL", "float64": "DOUBLE", "timestamp": "TIMESTAMP(6)", "date": "DATE",
                 "time": "VARCHAR(15)", "binary": "BLOB(64M)", "key binary": "VARBINARY(1000)", "uuid": "CHAR(36)",
                 "json": "CLOB(64M)"}  # fmt: skip
        return names[kind]

    def number(self, precision: int, scale: int) -> str:
        """See Dialect.number."""
        return f"DECIMAL({precision},{scale})" if precision <= 31 else ""

    def text(self, length: int | None, *, key: bool) -> str:
        """See Dialect.text. Lengths count bytes, of which a character takes up to four."""
        if length and length <= 2000:
            return f"VARCHAR({length * 4})"
        return f"VARCHAR({self.key_chars * 4})" if key else "CLOB(64M)"

    def indexable(self, native: str) -> bool:
        """See Dialect.indexable."""
        return not Native.parse(native).name.endswith(("lob", "xml"))

    def readable(self, expression: str, native: Native) -> str:
        """See Dialect.readable."""
        if native.name == "timestamp" and native.argument(0, 6) > 6:
            return f"TRUNC_TIMESTAMP({expression}, 'FF6')"
        if native.name in ("decfloat", "time"):
            return f"VARCHAR({expression})"
        return f"XMLSERIALIZE({expression} AS CLOB(64M))" if native.name == "xml" else expression

    def hole(self, native: Native) -> str:
        """See Dialect.hole."""
        if native.name in (*_TEXTS, "clob", "dbclob", "blob", "xml") or native.name in _INTS:
            return "?"
        digits = f"({','.join(map(str, native.arguments))})" if native.arguments else ""
        return f"CAST(? AS {native.name}{digits})"

    def bound(self, expression: str, native: Native) -> str:
        """See Dialect.bound."""
        return expression if native.name in _TEXTS else f"VARCHAR({expression})"

    def create_missing(self, table: str, columns: str) -> str:
        """See Dialect.create_missing."""
        create = self.literal(f"CREATE TABLE {table} ({columns})")
        return f"BEGIN DECLARE CONTINUE HANDLER FOR SQLSTATE '42710' BEGIN END; EXECUTE IMMEDIATE {create}; END"

    def locking(self, sql: str) -> str:
        """See Dialect.locking."""
        return f"{sql} WITH RS USE AND KEEP UPDATE LOCKS"

    def savepoint(self, name: str) -> str:
        """See Dialect.savepoint."""
        return f"SAVEPOINT {name} ON ROLLBACK RETAIN CURSORS"

    def create_as(self, table: str, query: str) -> str:
        """See Dialect.create_as."""
        return f"CREATE TABLE {table} AS ({query}) WITH NO DATA"

    def create_chunk(self, chunk: str, query: str) -> list[str]:
        """See Dialect.create_chunk."""
        return [
            f"DECLARE GLOBAL TEMPORARY TABLE {chunk} AS ({query}) DEFINITION ONLY ON COMMIT PRESERVE ROWS NOT LOGGED "
            "WITH REPLACE"
        ]

    def chunk(self, schema: str, name: str) -> str:
        """See Dialect.chunk."""
        del schema
        return f"SESSION.{self.quote(name)}"

    def rename(self, schema: str, old: str, new: str) -> str:
        """See Dialect.rename."""
        return f"RENAME TABLE {self.place(schema, old)} TO {self.quote(new)}"

    def update(self, table: str, source: str, sets: Sequence[tuple[str, str]], on: str, where: str) -> str:
        """See Dialect.update."""
        pairs = ", ".join(f"{name} = {value}" for name, value in sets)
        return f"MERGE INTO {table} AS t USING {source} AS s ON {on} WHEN MATCHED AND ({where}) THEN UPDATE SET {pairs}"

    def ago(self, seconds: int, native: Native, zone: str) -> str:
        """See Dialect.ago."""
        del zone
        return f"CAST(CURRENT TIMESTAMP - CURRENT TIMEZONE - {seconds} SECONDS AS {native.name})"


dialect = Db2()
