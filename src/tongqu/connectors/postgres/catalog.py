"""What is in a PostgreSQL database: tables with types, keys, comments, estimates, indexes and foreign keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tongqu.connectors.postgres.db import PgDb
from tongqu.connectors.postgres.types import arrow_type
from tongqu.core.data import Dataset, ForeignKey, Index, Meta
from tongqu.core.lazy import Lazy
from tongqu.kit.patterns import wanted

if TYPE_CHECKING:
    import pyarrow as pa

_RELATIONS = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, c.reltuples::bigint,
       pg_catalog.obj_description(c.oid, 'pg_class'), n.nspname = current_schema()
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'
  AND n.nspname NOT LIKE 'pg\\_temp%' ORDER BY n.nspname <> current_schema(), n.nspname, c.relname
"""

_COLUMNS = """
SELECT a.attrelid::bigint, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.attidentity::text, a.attgenerated::text, pg_catalog.col_description(a.attrelid, a.attnum),
       pg_catalog.pg_get_expr(d.adbin, d.adrelid), t.typtype::text, a.attnum,
       CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END,
       et.typtype::text
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type et ON et.oid = t.typelem AND t.typcategory = 'A'
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = ANY(?::oid[]) ORDER BY a.attrelid, a.attnum
"""

_INDEXES = """
SELECT i.indrelid::bigint, i.indisprimary, i.indisunique, c.relname,
       array(SELECT CASE WHEN k.attnum = 0 THEN NULL ELSE a.attname END
             FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
             LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.n <= i.indnkeyatts ORDER BY k.n)::text[],
       pg_catalog.pg_get_indexdef(i.indexrelid), i.indpred IS NOT NULL, con.conname, am.amname, i.indimmediate
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am am ON am.oid = c.relam
LEFT JOIN pg_catalog.pg_constraint con ON con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x')
WHERE i.indisvalid AND i.indrelid = ANY(?::oid[]) ORDER BY i.indrelid, i.indisprimary DESC, c.relname
"""

_FOREIGN = """
SELECT k.conrelid::bigint, k.confrelid::bigint,
       array(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY u(attnum, n)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum ORDER BY u.n)::text[],
       array(SELECT a.attname FROM unnest(k.confkey) WITH ORDINALITY u(attnum, n)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum ORDER BY u.n)::text[]
FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conrelid = ANY(?::oid[]) AND k.conparentid = 0
"""


@dataclass
class IndexInfo:
    """An index as the catalogue has it."""

    name: str
    columns: tuple[str | None, ...]
    primary: bool
    unique: bool
    definition: str
    partial: bool
    constraint: str | None
    method: str
    immediate: bool

    @property
    def plain(self) -> bool:
        """An ordinary index on whole columns."""
        return not self.partial and all(self.columns) and self.method == "btree"


@dataclass
class ColumnInfo:
    """A column as the catalogue has it."""

    name: str
    type: str
    required: bool
    identity: str
    generated: str
    comment: str | None
    default: str | None
    kind: str
    """pg_type.typtype of the type or of an array's element: b, e (enum), d (domain), c, r, m."""
    base: str | None
    """The base type of a domain."""


@dataclass
class Relation:
    """A table, view or foreign table."""

    oid: int
    schema: str
    table: str
    kind: str
    estimate: int
    comment: str | None
    default_schema: bool
    columns: list[ColumnInfo] = field(default_factory=list)
    indexes: list[IndexInfo] = field(default_factory=list)
    foreign: list[tuple[int, tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.table if self.default_schema else f"{self.schema}.{self.table}"

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key, else the first plain unique index whose columns are all NOT NULL."""
        required = {column.name for column in self.columns if column.required}
        for index in self.indexes:
            whole = index.plain and index.unique and index.immediate
            if index.primary or (whole and all(name in required for name in index.columns)):
                return tuple(name for name in index.columns if name)
        return ()


def relations(db: PgDb, patterns: Sequence[str] | None, *, views: bool = True) -> list[Relation]:
    """The relations whose names are wanted. Without a pattern only tables are; views must be named."""
    found = [Relation(*row) for row in db.rows(_RELATIONS)]
    exact = {pattern for pattern in patterns or () if not any(sign in pattern for sign in "*?[!")}
    chosen = [
        relation
        for relation in found
        if (wanted(relation.name, patterns) or f"{relation.schema}.{relation.table}" in exact)
        and (relation.kind in "rp" or (views and relation.name in exact))
    ]
    describe(db, chosen)
    return chosen


def describe(db: PgDb, chosen: Sequence[Relation]) -> None:
    """Fill in columns, indexes and foreign keys with one query each."""
    if not chosen:
        return
    oids = [relation.oid for relation in chosen]
    by_oid = {relation.oid: relation for relation in chosen}
    for oid, name, kind, required, identity, generated, comment, default, typtype, _, base, element in db.rows(
        _COLUMNS, (oids,)
    ):
        by_oid[oid].columns.append(
            ColumnInfo(name, kind, required, identity, generated, comment, default, element or typtype, base)
        )
    for oid, primary, unique, name, columns, definition, partial, constraint, method, immediate in db.rows(
        _INDEXES, (oids,)
    ):
        by_oid[oid].indexes.append(
            IndexInfo(name, tuple(columns), primary, unique, definition, partial, constraint, method, immediate)
        )
    for oid, target, columns, target_columns in db.rows(_FOREIGN, (oids,)):
        by_oid[oid].foreign.append((target, tuple(columns), tuple(target_columns)))


_FINGERPRINT = """
SELECT c.oid::bigint, CASE WHEN c.relkind = 'p' THEN
         (SELECT string_agg(pg_relation_filenode(relid)::text, ' ' ORDER BY relid) FROM pg_partition_tree(c.oid))
       ELSE pg_relation_filenode(c.oid)::text END,
       array(SELECT a.attname || ' ' || a.attnum || ' ' || a.atttypid || ' ' || a.atttypmod
             FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)::text[]
FROM pg_catalog.pg_class c WHERE c.oid = ANY(?::oid[])
"""


def fingerprints(db: PgDb, relations: Sequence[Relation]) -> dict[int, tuple[str | None, frozenset[str]]]:
    """What tells that a table is still the one that was described: the file that holds its rows, which every rewrite
    and TRUNCATE changes, and its columns by name, number and type.

    A rewritten or truncated table looks empty to a snapshot that is older (PostgreSQL docs, "MVCC caveats").
    """
    if not relations:
        return {}
    found = db.rows(_FINGERPRINT, ([relation.oid for relation in relations],))
    return {int(oid): (file, frozenset(columns)) for oid, file, columns in found}


def dataset(relation: Relation, names: dict[int, str]) -> Dataset:
    """A relation in the words of the core; `names` gives dataset names by oid for foreign keys."""
    schema = Lazy(
        names=tuple(column.name for column in relation.columns),
        natives=tuple(column.base or column.type for column in relation.columns),
        required=tuple(column.required for column in relation.columns),
        make=lambda: _schema(relation),
        system="postgres",
        titles=tuple(column.comment or "" for column in relation.columns),
    )
    secondary = [
        Index(tuple(name for name in index.columns if name), index.unique, index.name)
        for index in relation.indexes
        if not index.primary and index.plain
    ]
    foreign = tuple(
        ForeignKey(columns, names[target], target_columns)
        for target, columns, target_columns in relation.foreign
        if target in names
    )
    return Dataset(
        name=relation.name,
        schema=schema,
        key=relation.key,
        title=relation.comment or "",
        rows=relation.estimate if relation.estimate >= 0 else None,
        indexes=tuple(secondary),
        foreign_keys=foreign,
    )


def _schema(relation: Relation) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([column_field(column) for column in relation.columns])


def column_field(column: ColumnInfo) -> pa.Field[Any]:
    """A column as an Arrow field with what the core wants to know about it."""
    import pyarrow as pa

    base = {"e": "enum"}.get(column.kind)
    kind, logical = arrow_type(column.base or column.type, base)
    meta: dict[str, str] = {Meta.NATIVE: f"postgres:{column.base or column.type}"}
    if logical:
        meta[Meta.LOGICAL] = logical
    if column.comment:
        meta[Meta.TITLE] = column.comment
    if column.identity:
        meta[Meta.IDENTITY] = {"a": "always", "d": "by default"}[column.identity]
    if column.generated:
        meta[Meta.GENERATED] = {"s": "stored", "v": "virtual"}[column.generated]
    elif column.default:
        meta[Meta.DEFAULT] = column.default
    return pa.field(column.name, kind, nullable=not column.required, metadata=meta)
