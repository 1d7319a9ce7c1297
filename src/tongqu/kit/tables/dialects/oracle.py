"""Oracle's words (12.2 and newer)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from tongqu.core.errors import RefusedRowsError, TongquError
from tongqu.kit.tables.dialect import Dialect
from tongqu.kit.tables.native import Native, decimal
from tongqu.kit.tables.queried import Words

_RAISED = re.compile(r"ORA-20[0-9]{3}\b")
"""What triggers raise themselves (`raise_application_error`)."""
_TEXTS = ("varchar2", "nvarchar2", "varchar", "char", "nchar")
_LOBS = ("clob", "nclob", "blob")
_ZONED = ("timestamp with time zone", "timestamp with local time zone")
_FORMAT = "YYYY-MM-DD HH24:MI:SS"
_NATIVE = (
    "CASE WHEN c.data_type IN ('VARCHAR2', 'CHAR') THEN c.data_type || '(' || c.char_length || "
    "CASE c.char_used WHEN 'C' THEN ' CHAR)' ELSE ' BYTE)' END "
    "WHEN c.data_type IN ('NVARCHAR2', 'NCHAR') THEN c.data_type || '(' || c.char_length || ')' "
    "WHEN c.data_type = 'RAW' THEN 'RAW(' || c.data_length || ')' "
    "WHEN c.data_type = 'NUMBER' AND c.data_precision IS NULL AND c.data_scale IS NULL THEN 'NUMBER' "
    "WHEN c.data_type = 'NUMBER' THEN 'NUMBER(' || COALESCE(c.data_precision, 38) || ',' || c.data_scale || ')' "
    "WHEN c.data_type = 'FLOAT' THEN 'FLOAT(' || c.data_precision || ')' ELSE c.data_type END"
)
CODECS = {"ZHS16GBK": "cp936", "ZHS32GB18030": "gb18030", "ZHT16MSWIN950": "cp950", "WE8MSWIN1252": "cp1252",
          "WE8ISO8859P1": "latin-1", "WE8ISO8859P15": "iso8859-15", "JA16SJIS": "cp932", "KO16MSWIN949": "cp949",
          "US7ASCII": "ascii"}  # fmt: skip
"""Python's names of NLS_CHARACTERSET; what is not here is Unicode or not known."""
_KEYS = "FROM all_constraints k JOIN all_cons_columns c ON c.owner = k.owner AND c.constraint_name = k.constraint_name "
_WORDS = Words(
    schema="SELECT SYS_CONTEXT('USERENV', 'CURRENT_SCHEMA') FROM DUAL",
    names=(
        "SELECT o.object_name, CASE o.object_type WHEN 'VIEW' THEN 1 ELSE 0 END FROM all_objects o WHERE o.owner = ? "
        "AND o.object_type IN ('TABLE', 'VIEW') AND o.secondary = 'N'{one} ORDER BY o.object_name"
    ),
    one=" AND o.object_name = ?",
    columns=(
        f"SELECT c.column_name, {_NATIVE}, CASE c.nullable WHEN 'Y' THEN 1 ELSE 0 END, c.data_default, "
        "CASE c.virtual_column WHEN 'YES' THEN 'virtual' END, CASE c.identity_column WHEN 'YES' THEN 1 ELSE 0 END, "
        "m.comments FROM all_tab_cols c LEFT JOIN all_col_comments m ON m.owner = c.owner "
        "AND m.table_name = c.table_name AND m.column_name = c.column_name "
        "WHERE c.owner = ? AND c.table_name = ? AND c.hidden_column = 'NO' ORDER BY c.column_id"
    ),
    primary=(
        f"SELECT c.column_name {_KEYS}WHERE k.owner = ? AND k.table_name = ? AND k.constraint_type = 'P' "
        "ORDER BY c.position"
    ),
    indexes=(
        "SELECT i.index_name, CASE i.uniqueness WHEN 'UNIQUE' THEN 1 ELSE 0 END, c.column_name FROM all_indexes i "
        "JOIN all_ind_columns c ON c.index_owner = i.owner AND c.index_name = i.index_name "
        "WHERE i.table_owner = ? AND i.table_name = ? AND i.index_type = 'NORMAL' AND NOT EXISTS (SELECT 1 FROM "
        "all_constraints k WHERE k.owner = i.table_owner AND k.table_name = i.table_name "
        "AND k.index_name = i.index_name AND k.constraint_type = 'P') ORDER BY i.index_name, c.column_position"
    ),
    foreign=(
        f"SELECT k.constraint_name, c.column_name, r.owner, r.table_name, r.column_name {_KEYS}"
        "JOIN all_cons_columns r ON r.owner = k.r_owner AND r.constraint_name = k.r_constraint_name "
        "AND r.position = c.position WHERE k.owner = ? AND k.table_name = ? AND k.constraint_type = 'R' "
        "ORDER BY k.constraint_name, c.position"
    ),
    about=(
        "SELECT m.comments, t.num_rows FROM all_tab_comments m LEFT JOIN all_tables t ON t.owner = m.owner "
        "AND t.table_name = m.table_name WHERE m.owner = ? AND m.table_name = ?"
    ),
)


class Oracle(Dialect):
    """Oracle: DDL ends transactions, chunks wait in global temporary tables, an empty text is null."""

    name = "oracle"
    system = "oracle"
    sqlglot = "oracle"
    ddl_commits: ClassVar[bool] = True
    columns_fold: ClassVar[bool] = False
    folds_upper: ClassVar[bool] = True
    empty: ClassVar[str] = "\x1f"
    instant: ClassVar[str] = "TIMESTAMP(6) WITH TIME ZONE"
    truth: ClassVar[tuple[str, str]] = ("1", "0")
    parameters: ClassVar[int] = 0
    words: ClassVar[Words | None] = _WORDS
    snapshot: ClassVar[tuple[str, ...]] = ("SET TRANSACTION READ ONLY",)
    ledger_types: ClassVar[dict[str, str]] = {"id": "VARCHAR2(255 CHAR)", "text": "CLOB", "long": "NUMBER(19)"}

    def moment(self, text: str) -> str:
        """See Dialect.moment."""
        return f"TIMESTAMP {self.literal(text + ' +00:00')}"

    # ---- types

    def kind(self, native: Native) -> tuple[pa.DataType, str] | None:
        """See Dialect.kind. A NUMBER without digits is text, which alone holds all its values; DATE has a time."""
        name = native.name.removesuffix(" char").removesuffix(" byte")
        if name in ("number", "decimal", "numeric"):
            if not native.arguments:
                return pa.string(), "decimal"
            precision, scale = native.arguments[0], native.argument(1, 0)
            if scale == 0 and precision <= 18:
                return (pa.int32() if precision <= 9 else pa.int64()), ""
            return decimal(precision, scale)
        if name == "float":
            return pa.string(), "decimal"
        if name in (*_TEXTS, "clob", "nclob", "long"):
            return pa.string(), ""
        if name in ("xmltype", "json"):
            return pa.string(), name.removesuffix("type")
        if name in ("rowid", "urowid") or name.startswith("interval"):
            return pa.string(), "interval" if name.startswith("interval") else "text"
        if name in _ZONED:
            return pa.timestamp("us", "UTC"), ""
        simple: dict[str, pa.DataType] = {
            "binary_float": pa.float32(), "binary_double": pa.float64(), "raw": pa.binary(), "blob": pa.binary(),
            "long raw": pa.binary(), "date": pa.timestamp("s"), "timestamp": pa.timestamp("us"),
            "boolean": pa.bool_(),
        }  # fmt: skip
        return (simple[name], "") if name in simple else None

    def made(self, kind: str) -> str:
        """See Dialect.made. There is no type for a time of day: it is kept as its text."""
        names = {"bool": "NUMBER(1)", "int8": "NUMBER(3)", "uint8": "NUMBER(3)", "int16": "NUMBER(5)",
                 "uint16": "NUMBER(5)", "int32": "NUMBER(10)", "uint32": "NUMBER(10)", "int64": "NUMBER(19)",
                 "uint64": "NUMBER(20)", "float32": "BINARY_FLOAT", "float64": "BINARY_DOUBLE",
                 "timestamp": "TIMESTAMP(6)", "date": "DATE", "time": "VARCHAR2(15 CHAR)", "binary": "BLOB",
                 "key binary": "RAW(2000)", "uuid": "VARCHAR2(36 CHAR)", "json": "CLOB"}  # fmt: skip
        return names[kind]

    def number(self, precision: int, scale: int) -> str:
        """See Dialect.number."""
        return f"NUMBER({precision},{scale})" if precision <= 38 else ""

    def text(self, length: int | None, *, key: bool) -> str:
        """See Dialect.text."""
        if length and length <= 1000:
            return f"VARCHAR2({length} CHAR)"
        return f"VARCHAR2({self.key_chars} CHAR)" if key else "CLOB"

    def indexable(self, native: str) -> bool:
        """See Dialect.indexable."""
        return Native.parse(native).name not in (*_LOBS, "long", "long raw", "xmltype", "json")

    def same_type(self, one: str, other: str) -> bool:
        """See Dialect.same_type."""
        return super().same_type(_full(one), _full(other))

    # ---- values

    def readable(self, expression: str, native: Native) -> str:
        """See Dialect.readable. What has more than six digits is cut as text, since a cast would round it."""
        name = native.name
        if name in ("number", "decimal", "numeric", "float") and (not native.arguments or name == "float"):
            return f"TO_CHAR({expression}, 'TM9')"
        if name in _ZONED or (name == "timestamp" and native.argument(0, 6) > 6):
            utc = f"SYS_EXTRACT_UTC({expression})" if name in _ZONED else expression
            return f"TO_CHAR({utc}, '{_FORMAT}.FF6')" if native.argument(0, 6) > 6 else utc
        if name == "xmltype":
            return f"XMLSERIALIZE(CONTENT {expression} AS CLOB)"
        if name == "json":
            return f"JSON_SERIALIZE({expression} RETURNING CLOB)"
        return f"TO_CHAR({expression})" if name.startswith("interval") else expression

    def hole(self, native: Native) -> str:
        """See Dialect.hole."""
        name = native.name
        if name in ("number", "decimal", "numeric", "float"):
            return "TO_NUMBER(?)"
        if name == "date":
            return f"TO_DATE(?, '{_FORMAT}')"
        if name == "timestamp":
            return f"TO_TIMESTAMP(?, '{_FORMAT}.FF6')"
        return f"FROM_TZ(TO_TIMESTAMP(?, '{_FORMAT}.FF6'), 'UTC')" if name in _ZONED else "?"

    def differs(self, left: str, right: str, native: Native) -> str:
        """See Dialect.differs."""
        name = native.name
        if name in ("xmltype", "json"):
            left, right = self.readable(left, native), self.readable(right, native)
        if name not in (*_LOBS, "xmltype", "json"):
            return super().differs(left, right, native)
        same = f"DBMS_LOB.COMPARE({left}, {right}) = 0 OR ({left} IS NULL AND {right} IS NULL)"
        return f"CASE WHEN {same} THEN 0 ELSE 1 END = 1"

    def codec(self, native: str, database: str) -> str:
        """See Dialect.codec. National types hold every character."""
        return "" if Native.parse(native).name.startswith("n") else CODECS.get(database, "")

    def orders(self, native: Native) -> bool:
        """See Dialect.orders."""
        name = native.name.removesuffix(" char").removesuffix(" byte")
        return name in ("number", *_TEXTS, "date", "timestamp", *_ZONED)

    def bound(self, expression: str, native: Native) -> str:
        """See Dialect.bound."""
        if native.name == "number":
            return f"TO_CHAR({expression}, 'TM9')"
        if native.name == "date":
            return f"TO_CHAR({expression}, '{_FORMAT}')"
        if native.name == "timestamp":
            return f"TO_CHAR({expression}, '{_FORMAT}.FF9')"
        return f"TO_CHAR(SYS_EXTRACT_UTC({expression}), '{_FORMAT}.FF9')" if native.name in _ZONED else expression

    def bound_literal(self, text: str, native: Native) -> str:
        """See Dialect.bound_literal."""
        if native.name == "number":
            return text
        if native.name == "date":
            return f"TO_DATE({self.literal(text)}, '{_FORMAT}')"
        moment = f"TO_TIMESTAMP({self.literal(text)}, '{_FORMAT}.FF9')"
        if native.name in _ZONED:
            return f"FROM_TZ({moment}, 'UTC')"
        return moment if native.name == "timestamp" else self.literal(text)

    # ---- statements

    def create_missing(self, table: str, columns: str) -> str:
        """See Dialect.create_missing."""
        return self._unless(f"CREATE TABLE {table} ({columns})", -955)

    def _unless(self, statement: str, *codes: int) -> str:
        """A statement whose failure with one of these codes does not matter."""
        ignored = ", ".join(map(str, codes))
        return (
            f"BEGIN EXECUTE IMMEDIATE {self.literal(statement)}; EXCEPTION WHEN OTHERS THEN "
            f"IF SQLCODE NOT IN ({ignored}) THEN RAISE; END IF; END;"
        )

    def release(self, name: str) -> str:
        """See Dialect.release."""
        del name
        return ""

    def session(self, *, reading: bool) -> Sequence[str]:
        """See Dialect.session."""
        del reading
        return [
            "ALTER SESSION SET TIME_ZONE = 'UTC'", "ALTER SESSION SET NLS_NUMERIC_CHARACTERS = '.,'",
            "ALTER SESSION SET NLS_COMP = BINARY", "ALTER SESSION SET NLS_SORT = BINARY",
        ]  # fmt: skip

    def add_columns(self, table: str, definitions: Sequence[str]) -> list[str]:
        """See Dialect.add_columns."""
        return [f"ALTER TABLE {table} ADD ({', '.join(definitions)})"]

    def retype(self, table: str, column: str, native: str, *, nullable: bool, loosen: bool) -> list[str]:
        """See Dialect.retype."""
        del nullable
        return [f"ALTER TABLE {table} MODIFY ({self.quote(column)} {native}{' NULL' if loosen else ''})"]

    def prepare_chunk(self, chunk: str, query: str) -> list[str]:
        """See Dialect.prepare_chunk. The definition is shared, its rows are each session's own. One that another
        session is using right now (14452) has the shape that this run needs too."""
        create = f"CREATE GLOBAL TEMPORARY TABLE {chunk} ON COMMIT DELETE ROWS AS {query} WHERE 1 = 0"
        return [self._unless(f"DROP TABLE {chunk} PURGE", -942, -14452), self._unless(create, -955)]

    def create_chunk(self, chunk: str, query: str) -> list[str]:
        """See Dialect.create_chunk."""
        del query
        return [f"DELETE FROM {chunk}"]

    def chunk(self, schema: str, name: str) -> str:
        """See Dialect.chunk."""
        return self.place(schema, name)

    def drop(self, table: str) -> list[str]:
        """See Dialect.drop."""
        return [self._unless(f"DROP TABLE {table} PURGE", -942)]

    def delete(self, table: str, alias: str, where: str) -> str:
        """See Dialect.delete."""
        return f"DELETE FROM {table} {alias} WHERE {where}"

    def update(self, table: str, source: str, sets: Sequence[tuple[str, str]], on: str, where: str) -> str:
        """See Dialect.update."""
        pairs = ", ".join(f"{name} = {value}" for name, value in sets)
        return f"MERGE INTO {table} t USING {source} s ON ({on}) WHEN MATCHED THEN UPDATE SET {pairs} WHERE {where}"

    def update_alone(self, table: str, sets: Sequence[tuple[str, str]], where: str) -> str:
        """See Dialect.update_alone."""
        return f"UPDATE {table} t SET {', '.join(f'{name} = {value}' for name, value in sets)} WHERE {where}"

    def merged(
        self, table: str, source: str, on: str, *, sets: Sequence[tuple[str, str]], where: str, names: Sequence[str]
    ) -> str:
        """See Dialect.merged."""
        update = ""
        if sets:
            pairs = ", ".join(f"{name} = {value}" for name, value in sets)
            update = f"WHEN MATCHED THEN UPDATE SET {pairs} WHERE {where} "
        values = ", ".join(f"s.{name}" for name in names)
        insert = f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) VALUES ({values})"
        return f"MERGE INTO {table} t USING {source} s ON ({on}) {update}{insert}"

    # ---- what others are doing

    def oldest_writer(self) -> str:
        """See Dialect.oldest_writer."""
        return "SELECT CEIL(MAX((SYSDATE - start_date) * 86400)) FROM v$transaction"

    def writers(self) -> str:
        """See Dialect.writers."""
        return "SELECT RAWTOHEX(xid) FROM v$transaction"

    def ago(self, seconds: int, native: Native, zone: str) -> str:
        """See Dialect.ago."""
        moment = f"(SYSTIMESTAMP - NUMTODSINTERVAL({seconds}, 'SECOND')) AT TIME ZONE {self.literal(zone or 'UTC')}"
        return moment if native.name in _ZONED else f"CAST({moment} AS {native.name})"

    def meaning(self, state: str, text: str) -> type[TongquError] | None:
        """See Dialect.meaning."""
        del state
        return RefusedRowsError if _RAISED.search(text) else None


def _full(native: str) -> str:
    """`NUMBER(5)` is `NUMBER(5,0)`."""
    found = Native.parse(native)
    return f"NUMBER({found.arguments[0]},0)" if found.name == "number" and len(found.arguments) == 1 else native


dialect = Oracle()
