"""What is in a SQLite file: tables and views with types, keys, estimates, indexes and foreign keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tongqu.connectors.sqlite.types import Kind, kind_of
from tongqu.core.data import Dataset, ForeignKey, Index, Meta
from tongqu.core.errors import ConnectorError, NotFoundError
from tongqu.kit.patterns import nearest, wanted
from tongqu.kit.sqlite import SqliteDb, quoted, text_literal

_HIDDEN = 1
_GENERATED = {2: "virtual", 3: "stored"}
_STORED_AS = {
    "integer": Kind(pa.int64()),
    "real": Kind(pa.float64()),
    "text": Kind(pa.string()),
    "blob": Kind(pa.binary()),
}


@dataclass(frozen=True)
class ColumnInfo:
    """A column as SQLite has it; `key` is its place in the primary key, from 1, or 0."""

    name: str
    declared: str
    required: bool
    default: str | None
    key: int
    generated: str = ""


@dataclass(frozen=True)
class IndexInfo:
    """An index; `definition` is empty for those that belong to a constraint."""

    name: str
    columns: tuple[str | None, ...]
    unique: bool
    partial: bool
    origin: str
    definition: str

    @property
    def plain(self) -> bool:
        """An index on whole columns and all rows."""
        return not self.partial and all(self.columns)


@dataclass(frozen=True)
class Relation:
    """A table or view. `rowid` is the name by which its hidden key can be read, None if it has none."""

    name: str
    kind: str
    definition: str
    columns: tuple[ColumnInfo, ...]
    indexes: tuple[IndexInfo, ...] = ()
    foreign: tuple[ForeignKey, ...] = ()
    rowid: str | None = None
    kinds: dict[str, Kind] = field(default_factory=dict)

    @property
    def primary(self) -> tuple[str, ...]:
        """The declared primary key."""
        ordered = sorted((column.key, column.name) for column in self.columns if column.key)
        return tuple(name for _, name in ordered)

    @property
    def alias(self) -> str | None:
        """The INTEGER PRIMARY KEY that is the rowid itself: then the rowid never changes by VACUUM."""
        owns_index = any(index.origin == "pk" for index in self.indexes)
        return self.primary[0] if self.rowid and len(self.primary) == 1 and not owns_index else None

    @property
    def required(self) -> frozenset[str]:
        """Columns that cannot be null."""
        names = {column.name for column in self.columns if column.required}
        if self.alias:
            names.add(self.alias)
        return frozenset(names if self.rowid or self.kind == "view" else names | set(self.primary))

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key, else the first unique index whose columns are all NOT NULL."""
        if self.primary:
            return self.primary
        for index in self.indexes:
            names = tuple(name for name in index.columns if name)
            if index.unique and index.plain and set(names) <= self.required:
                return names
        return ()


def names(db: SqliteDb) -> list[str]:
    """All tables and views but SQLite's own."""
    found = db.rows(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
        "ORDER BY name"
    )
    return [str(name) for (name,) in found]


def relation(db: SqliteDb, name: str, *, infer: bool = True) -> Relation | None:
    """One table or view, or None. `infer` looks at the values of columns whose declaration promises nothing."""
    found = db.rows(
        "SELECT name, type, coalesce(sql, '') FROM sqlite_master WHERE type IN ('table', 'view') "
        "AND name = ? COLLATE NOCASE",
        (name,),
    )
    if not found:
        return None
    real, kind, definition = found[0]
    columns = tuple(
        ColumnInfo(str(column), str(declared or ""), bool(notnull), default, int(key), _GENERATED.get(hidden, ""))
        for _, column, declared, notnull, default, key, hidden in db.rows(f"PRAGMA table_xinfo({text_literal(real)})")
        if hidden != _HIDDEN
    )
    rowid = None if kind == "view" else _rowid(db, real, columns)
    table = Relation(real, kind, definition, columns, _indexes(db, real), _foreign(db, real), rowid)
    kinds = {
        column.name: kind_of(column.declared) or (_stored_as(db, real, column.name) if infer else Kind(pa.string()))
        for column in columns
    }
    return Relation(real, kind, definition, columns, table.indexes, table.foreign, rowid, kinds)


def need(db: SqliteDb, name: str) -> Relation:
    """One table or view; NotFoundError naming the nearest ones."""
    found = relation(db, name)
    if found is None:
        near = nearest(name, names(db))
        raise NotFoundError(
            f"there is no table {name!r}", hint=f"similar names: {near}" if near else "no tables at all"
        )
    return found


def _rowid(db: SqliteDb, table: str, columns: Sequence[ColumnInfo]) -> str | None:
    taken = {column.name.lower() for column in columns}
    for name in ("rowid", "_rowid_", "oid"):
        if name not in taken:
            try:
                db.rows(f"SELECT {name} FROM {quoted(table)} LIMIT 0")
            except ConnectorError as error:
                if "no such column" not in error.message:
                    raise
                return None  # WITHOUT ROWID
            return name
    return None


def _indexes(db: SqliteDb, table: str) -> tuple[IndexInfo, ...]:
    query = "SELECT name, coalesce(sql, '') FROM sqlite_master WHERE type = 'index' AND tbl_name = ?"
    stored = db.rows(query, (table,))
    definitions = {str(name): str(sql) for name, sql in stored}
    found = []
    for _, name, unique, origin, partial in db.rows(f"PRAGMA index_list({text_literal(table)})"):
        columns = tuple(row[2] for row in db.rows(f"PRAGMA index_info({text_literal(name)})"))
        found.append(IndexInfo(name, columns, bool(unique), bool(partial), origin, definitions.get(name, "")))
    return tuple(sorted(found, key=lambda index: index.name))


def _foreign(db: SqliteDb, table: str) -> tuple[ForeignKey, ...]:
    parts: dict[int, list[tuple[str, str, str | None]]] = {}
    for number, _, target, column, target_column, *_ in db.rows(f"PRAGMA foreign_key_list({text_literal(table)})"):
        parts.setdefault(number, []).append((target, column, target_column))
    keys = []
    for _, rows in sorted(parts.items()):
        target = rows[0][0]
        columns = tuple(str(own) for _, own, _ in rows)
        theirs = tuple(str(other) for _, _, other in rows if other)
        if not theirs:  # REFERENCES t: its primary key
            found = sorted((row[5], row[1]) for row in db.rows(f"PRAGMA table_info({text_literal(target)})") if row[5])
            theirs = tuple(name for _, name in found)
        if len(theirs) == len(columns):
            keys.append(ForeignKey(columns, target, theirs))
    return tuple(keys)


def _stored_as(db: SqliteDb, table: str, column: str) -> Kind:
    """The class most values have; integers among reals are reals."""
    found = db.rows(f"SELECT typeof({quoted(column)}), count(*) FROM {quoted(table)} GROUP BY 1")
    counts = {str(kind): int(count) for kind, count in found if kind != "null"}
    if counts.get("real") and counts.get("integer"):
        counts["real"] += counts.pop("integer")
    return _STORED_AS[max(counts, key=lambda kind: (counts[kind], kind))] if counts else Kind(pa.string())


def schema(table: Relation) -> pa.Schema:
    """The Arrow schema, with native types, logical types, generated and identity columns in the metadata."""
    fields = []
    automatic = table.alias if re.search(r"\bAUTOINCREMENT\b", table.definition, re.IGNORECASE) else None
    for column in table.columns:
        kind = table.kinds[column.name]
        metadata = {str(Meta.NATIVE): f"sqlite:{column.declared}"} if column.declared else {}
        if kind.logical:
            metadata[Meta.LOGICAL] = kind.logical
        if column.generated:
            metadata[Meta.GENERATED] = column.generated
        if column.name == automatic:
            metadata[Meta.IDENTITY] = "by default"
        fields.append(pa.field(column.name, kind.type, column.name not in table.required, metadata or None))
    return pa.schema(fields)


def dataset(db: SqliteDb, table: Relation) -> Dataset:
    """The table as a dataset; the estimate is the greatest rowid, which costs one step down the tree."""
    rows = db.rows(f"SELECT max({table.rowid}) FROM {quoted(table.name)}")[0][0] or 0 if table.rowid else None
    indexes = tuple(
        Index(tuple(name for name in index.columns if name), index.unique, index.name)
        for index in table.indexes
        if index.plain and index.origin != "pk"
    )
    key = table.key
    return Dataset(table.name, schema(table), key, None, "", rows, indexes, table.foreign)


def datasets(db: SqliteDb, patterns: Sequence[str] | None) -> list[Dataset]:
    """The chosen tables and views."""
    return [_listed(db, name) for name in names(db) if wanted(name, patterns)]


def _listed(db: SqliteDb, name: str) -> Dataset:
    try:
        return dataset(db, need(db, name))
    except ConnectorError as error:  # a view over something that is gone
        return Dataset(name, pa.schema([]), unsupported=(error.message,))
