"""What is in a DuckDB file: tables and views with types, keys, comments, estimates, indexes and foreign keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from tongqu.connectors.duckdb.db import DuckDb, parts
from tongqu.connectors.duckdb.types import Kind, kind_of
from tongqu.core.data import Dataset, ForeignKey, Index, Meta
from tongqu.core.errors import NotFoundError
from tongqu.kit.patterns import nearest, wanted

_TABLES = """
SELECT schema_name, table_name, 'table', estimated_size, comment FROM duckdb_tables()
WHERE NOT internal AND NOT temporary AND database_name = current_database()
UNION ALL
SELECT schema_name, view_name, 'view', NULL, comment FROM duckdb_views()
WHERE NOT internal AND NOT temporary AND database_name = current_database()
ORDER BY 1, 2
"""
_COLUMNS = """
SELECT column_name, data_type, NOT is_nullable, column_default, comment, is_generated FROM duckdb_columns()
WHERE schema_name = ? AND table_name = ? AND database_name = current_database() ORDER BY column_index
"""
_CONSTRAINTS = """
SELECT constraint_type, constraint_text, expression, constraint_column_names, referenced_table,
       referenced_column_names FROM duckdb_constraints()
WHERE schema_name = ? AND table_name = ? AND database_name = current_database()
"""
_INDEXES = """
SELECT index_name, is_unique, expressions, sql FROM duckdb_indexes()
WHERE schema_name = ? AND table_name = ? AND database_name = current_database() ORDER BY index_name
"""
_REFERRING = """
SELECT table_name FROM duckdb_constraints()
WHERE constraint_type = 'FOREIGN KEY' AND schema_name = ? AND referenced_table = ?
  AND database_name = current_database() AND table_name NOT LIKE '\\_tongqu\\_%' ESCAPE '\\'
"""


@dataclass(frozen=True)
class ColumnInfo:
    """A column as DuckDB has it."""

    name: str
    type: str
    required: bool
    default: str | None
    comment: str | None
    generated: bool

    @property
    def kind(self) -> Kind:
        """How it is read."""
        return kind_of(self.type)


@dataclass(frozen=True)
class IndexInfo:
    """A secondary index; `columns` are None where it is on an expression."""

    name: str
    columns: tuple[str, ...] | None
    unique: bool
    definition: str


@dataclass(frozen=True)
class Relation:
    """A table or view."""

    schema: str
    table: str
    kind: str
    rows: int | None
    comment: str | None
    columns: tuple[ColumnInfo, ...]
    primary: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    checks: tuple[str, ...] = ()
    foreign: tuple[tuple[str, ForeignKey], ...] = ()
    """The constraint's text and what it says."""
    indexes: tuple[IndexInfo, ...] = ()

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.table if self.schema == "main" else f"{self.schema}.{self.table}"

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key, else the first unique column set that is NOT NULL."""
        required = {column.name for column in self.columns if column.required}
        unique = [*self.unique, *(index.columns for index in self.indexes if index.unique and index.columns)]
        return self.primary or next((names for names in unique if set(names) <= required), ())


def names(db: DuckDb) -> list[str]:
    """All tables and views."""
    return [table if schema == "main" else f"{schema}.{table}" for schema, table, *_ in db.rows(_TABLES)]


def relation(db: DuckDb, name: str) -> Relation | None:
    """One table or view, or None."""
    wanted_place = tuple(part.lower() for part in parts(name))
    for found_schema, found_table, kind, rows, comment in db.rows(_TABLES):
        if (found_schema.lower(), found_table.lower()) == wanted_place:
            shell = Relation(found_schema, found_table, kind, rows, comment, ())
            return _filled(db, shell)
    return None


def need(db: DuckDb, name: str) -> Relation:
    """One table or view; NotFoundError naming the nearest ones."""
    found = relation(db, name)
    if found is None:
        near = nearest(name, names(db))
        hint = f"similar names: {near}" if near else "there are no tables at all"
        raise NotFoundError(f"there is no table {name!r}", hint=hint)
    return found


def referring(db: DuckDb, table: Relation) -> list[str]:
    """Tables with a foreign key to this one."""
    return [str(name) for (name,) in db.rows(_REFERRING, (table.schema, table.table))]


def _filled(db: DuckDb, shell: Relation) -> Relation:
    schema, table = shell.schema, shell.table
    columns = tuple(ColumnInfo(*row) for row in db.rows(_COLUMNS, (schema, table)))
    primary: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = []
    checks: list[str] = []
    foreign: list[tuple[str, ForeignKey]] = []
    for type_, text, expression, own, target, theirs in db.rows(_CONSTRAINTS, (schema, table)):
        if type_ == "PRIMARY KEY":
            primary = tuple(own)
        elif type_ == "UNIQUE":
            unique.append(tuple(own))
        elif type_ == "CHECK":
            checks.append(expression or re.sub(r"^CHECK", "", text))
        elif type_ == "FOREIGN KEY":
            foreign.append((text, ForeignKey(tuple(own), target, tuple(theirs))))
    known = {column.name.lower(): column.name for column in columns}
    indexes = tuple(
        IndexInfo(name, _plain(expressions, known), bool(is_unique), sql)
        for name, is_unique, expressions, sql in db.rows(_INDEXES, (schema, table))
    )
    return replace(
        shell,
        columns=columns,
        primary=primary,
        unique=tuple(unique),
        checks=tuple(checks),
        foreign=tuple(foreign),
        indexes=indexes,
    )


def _plain(expressions: str, known: dict[str, str]) -> tuple[str, ...] | None:
    """The columns of an index as DuckDB prints them, `['"a"', b]`; None if one is an expression."""
    parts = [part.strip().strip("'").strip('"').lower() for part in str(expressions).strip("[]").split(",")]
    return tuple(known[part] for part in parts) if all(part in known for part in parts) else None


def schema(table: Relation) -> pa.Schema:
    """The Arrow schema, with titles, native and logical types in the metadata."""
    fields = []
    for column in table.columns:
        metadata = {str(Meta.NATIVE): f"duckdb:{column.type}"}
        if column.kind.logical:
            metadata[Meta.LOGICAL] = column.kind.logical
        if column.comment:
            metadata[Meta.TITLE] = column.comment
        if column.generated:
            metadata[Meta.GENERATED] = "virtual"
        fields.append(pa.field(column.name, column.kind.type, not column.required, metadata))
    return pa.schema(fields)


def dataset(table: Relation) -> Dataset:
    """The table as a dataset."""
    indexes = [Index(names, True) for names in table.unique]
    indexes += [Index(index.columns, index.unique, index.name) for index in table.indexes if index.columns]
    foreign = tuple(key for _, key in table.foreign)
    return Dataset(table.name, schema(table), table.key, None, table.comment or "", table.rows, tuple(indexes), foreign)


def datasets(db: DuckDb, patterns: Sequence[str] | None) -> list[Dataset]:
    """The chosen tables and views."""
    return [dataset(need(db, name)) for name in names(db) if wanted(name, patterns)]
