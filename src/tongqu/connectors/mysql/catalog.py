"""Finds tables and their columns, keys, indexes and foreign keys in information_schema."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tongqu.connectors.mysql.db import MysqlDb, quoted
from tongqu.connectors.mysql.types import Native, arrow_type, is_text
from tongqu.core.data import Dataset, ForeignKey, Index, Meta
from tongqu.kit.ledger import PREFIX

_SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")


@dataclass(frozen=True)
class ColumnInfo:
    """One column as the server describes it."""

    name: str
    type: str
    nullable: bool
    default: str | None
    extra: str
    comment: str
    charset: str | None
    collation: str | None
    json: bool = False

    @property
    def native(self) -> Native:
        """The parsed type."""
        return Native.parse(self.type)

    @property
    def generated(self) -> str | None:
        """`stored` or `virtual` for computed columns."""
        extra = self.extra.upper()
        if "STORED" in extra or "PERSISTENT" in extra:
            return "stored"
        return "virtual" if "VIRTUAL" in extra else None

    @property
    def ddl(self) -> str:
        """The type with its character set and collation, as CREATE TABLE takes it."""
        if self.collation and is_text(self.native) and not self.json:
            return f"{self.type} CHARACTER SET {self.charset} COLLATE {self.collation}"
        return "json" if self.json else self.type


@dataclass
class TableInfo:
    """A table or view."""

    schema: str
    table: str
    name: str
    engine: str | None
    view: bool
    comment: str
    rows: int | None
    columns: list[ColumnInfo] = field(default_factory=list)
    indexes: list[Index] = field(default_factory=list)
    foreign_keys: list[ForeignKey] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Quoted, with its database."""
        return f"{quoted(self.schema)}.{quoted(self.table)}"

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key, or the first unique index whose columns are never null."""
        required = {column.name for column in self.columns if not column.nullable}
        unique = [index for index in self.indexes if index.unique and set(index.columns) <= required]
        first = [index for index in unique if index.name == "PRIMARY"] or unique
        return first[0].columns if first else ()


def parts(db: MysqlDb, name: str) -> tuple[str, str]:
    """Database and table of a dataset's name."""
    schema, dot, table = name.partition(".")
    return (schema, table) if dot else (db.settings.database, name)


def find(db: MysqlDb, name: str) -> TableInfo | None:
    """The table of that dataset name, or None; ours (`_tongqu_…`) included. A dot may be part of a table's name."""
    own = db.settings.database
    for schema, table in dict.fromkeys([(own, name), parts(db, name)]):
        found = _tables(db, "t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?", (schema, table))
        if found:
            return found[0]
    return None


def tables(db: MysqlDb, patterns: Sequence[str] | None) -> list[TableInfo]:
    """Tables and views whose names match any glob; other databases only where a pattern names them."""
    own = db.settings.database
    schemas = {own, *(p.partition(".")[0] for p in patterns or () if "." in p and "*" not in p.partition(".")[0])}
    schemas -= set(_SYSTEM) - {own}
    marks = ", ".join("?" * len(schemas))
    found = _tables(db, f"t.TABLE_SCHEMA IN ({marks})", tuple(sorted(schemas)))
    listed = [table for table in found if not table.table.startswith(PREFIX)]
    if patterns is None:
        return listed
    return [t for t in listed if any(_matches(t, own, pattern) for pattern in patterns)]


def _matches(table: TableInfo, own: str, pattern: str) -> bool:
    names = [f"{table.schema}.{table.table}", *([table.table] if table.schema == own else [])]
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _tables(db: MysqlDb, where: str, params: tuple[str, ...]) -> list[TableInfo]:
    own = db.settings.database
    found: dict[tuple[str, str], TableInfo] = {}
    for schema, table, kind, engine, comment, rows in db.rows(
        "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.TABLE_TYPE, t.ENGINE, t.TABLE_COMMENT, t.TABLE_ROWS "
        f"FROM information_schema.TABLES t WHERE {where} ORDER BY 1, 2", params,
    ):  # fmt: skip
        name = table if schema == own else f"{schema}.{table}"
        view = "VIEW" in str(kind)
        found[schema, table] = TableInfo(schema, table, name, engine, view, "" if view else comment or "", rows)
    if not found:
        return []
    _columns(db, where, params, found)
    _indexes(db, where, params, found)
    _foreign_keys(db, where, params, found)
    return list(found.values())


def _columns(db: MysqlDb, where: str, params: tuple[str, ...], found: dict[tuple[str, str], TableInfo]) -> None:
    checked = _json_checked(db, {schema for schema, _ in found})
    for schema, table, name, kind, nullable, default, extra, comment, charset, collation in db.rows(
        "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.COLUMN_NAME, t.COLUMN_TYPE, t.IS_NULLABLE, t.COLUMN_DEFAULT, t.EXTRA, "
        f"t.COLUMN_COMMENT, t.CHARACTER_SET_NAME, t.COLLATION_NAME FROM information_schema.COLUMNS t WHERE {where} "
        "ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME, t.ORDINAL_POSITION", params,
    ):  # fmt: skip
        if (schema, table) in found:
            json = kind.lower() == "json" or (schema, table, name) in checked
            text = kind if isinstance(kind, str) else kind.decode()
            column = ColumnInfo(
                name, text, nullable == "YES", default, extra or "", comment or "", charset, collation, json
            )
            found[schema, table].columns.append(column)


def _json_checked(db: MysqlDb, schemas: set[str]) -> set[tuple[str, str, str]]:
    """MariaDB's JSON is a longtext whose check is `json_valid(column)`."""
    if not db.is_mariadb:
        return set()
    marks = ", ".join("?" * len(schemas))
    rows = db.rows(
        "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS "
        f"WHERE CONSTRAINT_SCHEMA IN ({marks}) AND CHECK_CLAUSE LIKE 'json_valid(%'", tuple(sorted(schemas)),
    )  # fmt: skip
    return {(s, t, n) for s, t, n, clause in rows if clause.lower() == f"json_valid({quoted(n).lower()})"}


def _indexes(db: MysqlDb, where: str, params: tuple[str, ...], found: dict[tuple[str, str], TableInfo]) -> None:
    grouped: dict[tuple[str, str, str], tuple[bool, list[str], bool]] = {}
    for schema, table, name, loose, column, prefix in db.rows(
        "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.INDEX_NAME, t.NON_UNIQUE, t.COLUMN_NAME, t.SUB_PART "
        f"FROM information_schema.STATISTICS t WHERE {where} "
        "ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME, t.INDEX_NAME <> 'PRIMARY', t.INDEX_NAME, t.SEQ_IN_INDEX", params,
    ):  # fmt: skip
        unique, columns, whole = grouped.get((schema, table, name), (not loose, [], True))
        columns.append(column or "")
        grouped[schema, table, name] = (unique, columns, whole and prefix is None and column is not None)
    for (schema, table, name), (unique, columns, whole) in grouped.items():
        if whole and (schema, table) in found:
            found[schema, table].indexes.append(Index(tuple(columns), unique, name))


def _foreign_keys(db: MysqlDb, where: str, params: tuple[str, ...], found: dict[tuple[str, str], TableInfo]) -> None:
    grouped: dict[tuple[str, str, str], tuple[str, list[str], list[str]]] = {}
    for schema, table, name, column, to_schema, to_table, to_column in db.rows(
        "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.CONSTRAINT_NAME, t.COLUMN_NAME, t.REFERENCED_TABLE_SCHEMA, "
        "t.REFERENCED_TABLE_NAME, t.REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE t "
        f"WHERE {where} AND t.REFERENCED_TABLE_NAME IS NOT NULL "
        "ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME, t.CONSTRAINT_NAME, t.ORDINAL_POSITION", params,
    ):  # fmt: skip
        target = to_table if to_schema == db.settings.database else f"{to_schema}.{to_table}"
        _, columns, targets = grouped.setdefault((schema, table, name), (target, [], []))
        columns.append(column)
        targets.append(to_column)
    for (schema, table, _), (target, columns, targets) in grouped.items():
        if (schema, table) in found:
            found[schema, table].foreign_keys.append(ForeignKey(tuple(columns), target, tuple(targets)))


def dataset(info: TableInfo) -> Dataset:
    """The table as a dataset; columns Arrow cannot hold are named in `unsupported`."""
    fields: list[pa.Field[Any]] = []
    unsupported = []
    for column in info.columns:
        kind = arrow_type(column.native, json=column.json)
        if kind is None:
            unsupported.append(f"{column.name} {column.type}")
            continue
        meta: dict[str, str] = {Meta.NATIVE: f"mysql:{column.ddl}"}
        optional = {
            Meta.LOGICAL: kind[1],
            Meta.TITLE: column.comment,
            Meta.GENERATED: column.generated,
            Meta.IDENTITY: "auto_increment" if "auto_increment" in column.extra.lower() else None,
            Meta.DEFAULT: None if column.default in (None, "NULL") else column.default,
        }
        meta |= {str(k): v for k, v in optional.items() if v}
        fields.append(pa.field(column.name, kind[0], column.nullable, meta))
    readable = {f.name for f in fields}
    return Dataset(
        name=info.name,
        schema=pa.schema(fields),
        key=info.key if set(info.key) <= readable else (),
        title=info.comment,
        rows=info.rows,
        indexes=tuple(index for index in info.indexes if index.name != "PRIMARY"),
        foreign_keys=tuple(info.foreign_keys),
        unsupported=tuple(unsupported),
    )
