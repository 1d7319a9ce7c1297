"""Tables of a PostgreSQL sink: finding, creating, growing and relating them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tongqu.connectors.postgres import catalog
from tongqu.connectors.postgres.db import PgDb, literal, quoted
from tongqu.connectors.postgres.types import keeps, native_type
from tongqu.core.data import Dataset, Meta, Write, WriteMode
from tongqu.core.errors import ConnectorError, InvalidPlanError, NotFoundError, SchemaError
from tongqu.kit.sql.landing import Landing, Target
from tongqu.meaning.settling import Alterations

if TYPE_CHECKING:
    import pyarrow as pa

_PINS = """
SELECT 'view ' || v.relname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
  JOIN pg_catalog.pg_class v ON v.oid = r.ev_class
  WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $oid AND d.classid = 'pg_rewrite'::regclass
    AND v.oid <> $oid
UNION SELECT 'foreign key ' || conname FROM pg_catalog.pg_constraint
  WHERE contype = 'f' AND (conrelid = $oid OR confrelid = $oid)
UNION SELECT 'trigger ' || tgname FROM pg_catalog.pg_trigger WHERE tgrelid = $oid AND NOT tgisinternal
UNION SELECT 'policy ' || polname FROM pg_catalog.pg_policy WHERE polrelid = $oid
UNION SELECT 'rule ' || rulename FROM pg_catalog.pg_rewrite WHERE ev_class = $oid AND rulename <> '_RETURN'
UNION SELECT 'publication ' || p.pubname FROM pg_catalog.pg_publication_rel r
  JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = $oid
UNION SELECT 'sequence ' || s.relname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid
  WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $oid AND d.classid = 'pg_class'::regclass
    AND s.relkind = 'S' AND d.deptype IN ('a', 'i')
UNION SELECT 'inheritance ' || inhrelid::regclass::text FROM pg_catalog.pg_inherits
  WHERE inhparent = $oid OR inhrelid = $oid
UNION SELECT 'partitioned table' FROM pg_catalog.pg_class WHERE oid = $oid AND relkind = 'p'
UNION SELECT 'row security' FROM pg_catalog.pg_class WHERE oid = $oid AND relrowsecurity
UNION SELECT 'other owner' FROM pg_catalog.pg_class WHERE oid = $oid AND NOT pg_has_role(relowner, 'MEMBER')
ORDER BY 1
"""


def parts(db: PgDb, name: str) -> tuple[str | None, str]:
    """Schema (None = default) and table of a dataset's name; a dot belongs to the table if no such schema exists.
    Tables are cut to the bytes PostgreSQL keeps."""
    schema, dot, table = name.partition(".")
    if dot and table and db.rows("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = ?", (schema,)):
        return schema, short(table)
    return None, short(name)


def short(name: str, end: str = "") -> str:
    """A name cut so that it has 63 bytes with its end, whole characters only, as PostgreSQL cuts names."""
    return name.encode()[: 63 - len(end)].decode(errors="ignore") + end


def place(db: PgDb, name: str) -> str:
    """The quoted table, with its schema if the name has one."""
    schema, table = parts(db, name)
    return f"{quoted(schema)}.{quoted(table)}" if schema else quoted(table)


def load_place(db: PgDb, landing: Landing) -> str:
    """The quoted table that loads go into."""
    return quoted(landing.chunk.rpartition(".")[2]) if landing.merges else place(db, landing.into)


def find(db: PgDb, name: str) -> catalog.Relation | None:
    """The table, described; None if there is none."""
    schema, table = parts(db, name)
    found = db.rows(
        "SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, c.reltuples::bigint, NULL, "
        "n.nspname = current_schema() FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
        "ON n.oid = c.relnamespace WHERE c.relname = ? AND n.nspname = coalesce(?, current_schema()) "
        "AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
        (table, schema),
    )
    if not found:
        return None
    relation = catalog.Relation(*found[0])
    catalog.describe(db, [relation])
    return relation


def exists(db: PgDb, name: str) -> bool:
    """Whether there is a relation of that name."""
    return bool(db.rows("SELECT to_regclass(?) IS NOT NULL", (place(db, name),))[0][0])


def types(db: PgDb, name: str) -> dict[str, str]:
    """The columns of a table with their types; a domain counts as its base type."""
    found = db.rows(
        "SELECT a.attname, CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) "
        "ELSE pg_catalog.format_type(a.atttypid, a.atttypmod) END FROM pg_catalog.pg_attribute a "
        "JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
        "WHERE a.attrelid = to_regclass(?) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        (place(db, name),),
    )
    return {str(column): str(kind) for column, kind in found}


def target(db: PgDb, name: str) -> Target | None:
    """The existing table in the kit's words; raises NotFoundError if the name is a view."""
    relation = find(db, name)
    if relation is None:
        return None
    if relation.kind not in "rp":
        raise NotFoundError(f"{name!r} is a view or foreign table and cannot be written", hint="name a table")
    pins = db.rows(_PINS.replace("$oid", f"{relation.oid}::oid"))
    immediate = [i for i in relation.indexes if i.unique and i.immediate and not i.partial and all(i.columns)]
    return Target(
        columns={c.name: c.base or c.type for c in relation.columns},
        key=next((tuple(c for c in i.columns if c) for i in relation.indexes if i.primary), ()),
        unique=tuple(tuple(c for c in i.columns if c) for i in immediate),
        written=tuple(c.name for c in relation.columns if not c.generated),
        required=tuple(c.name for c in relation.columns if c.required and not (c.default or c.identity or c.generated)),
        always=tuple(c.name for c in relation.columns if c.identity == "a"),
        pinned=tuple(str(row[0]) for row in pins),
    )


def create_table(db: PgDb, write: Write, name: str, types: Mapping[str, bool], *, key: bool) -> None:
    """Create a table shaped like the arriving schema, with titles as comments; the schema is created if missing."""
    schema, dot, _ = name.partition(".")
    if dot and parts(db, name)[0] is None:
        db.run(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
    table = place(db, name)
    keyed = write.key if key and write.mode is not WriteMode.HISTORY else ()
    columns = _columns(write.dataset, types)
    lines = []
    for column, kind, needed, _ in columns:
        required = " NOT NULL" if needed or column in write.key else ""
        lines.append(f"{quoted(column)} {kind}{required}")
    if write.mode is WriteMode.HISTORY:
        lines += ["_valid_from timestamptz NOT NULL", "_valid_to timestamptz", "_current boolean NOT NULL"]
    if not lines:
        raise InvalidPlanError(f"{name!r} would have no columns", path=write.stream, hint="select at least one column")
    if keyed:
        lines.append(f"PRIMARY KEY ({', '.join(quoted(c) for c in keyed)})")
    db.run(f"CREATE TABLE {table} ({', '.join(lines)})")
    if write.mode is WriteMode.HISTORY and key:
        names = ", ".join(quoted(c) for c in write.key)
        db.run(f"CREATE UNIQUE INDEX ON {table} ({names}) WHERE _current")
    _comment(db, table, write.dataset.title, {column: text for column, _, _, text in columns})


def _columns(dataset: Dataset, types: Mapping[str, bool]) -> list[tuple[str, str, bool, str]]:
    """Name, type, whether it is required and title of each column a new table gets; a schema in PostgreSQL's own
    words is not made into Arrow's."""
    own = dataset.natives("postgres")
    if own is not None and all(keeps(kind, types) for _, kind, _, _ in own):
        return own
    return [(f.name, native_type(f, types), not f.nullable, _title(f)) for f in dataset.schema]


def _title(field: pa.Field[Any]) -> str:
    return (field.metadata or {}).get(Meta.TITLE.encode(), b"").decode()


def _comment(db: PgDb, table: str, title: str, titles: Mapping[str, str]) -> None:
    if title:
        db.run(f"COMMENT ON TABLE {table} IS {literal(title)}")
    for column, text in titles.items():
        if text:
            db.run(f"COMMENT ON COLUMN {table}.{quoted(column)} IS {literal(text)}")


def add_columns(db: PgDb, name: str, fields: Sequence[pa.Field[Any]], types: Mapping[str, bool]) -> None:
    """Add nullable columns."""
    table = place(db, name)
    for field in fields:
        db.run(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {quoted(field.name)} {native_type(field, types)}")
    _comment(db, table, "", {field.name: _title(field) for field in fields})


def alter(db: PgDb, name: str, alterations: Alterations, types: Mapping[str, bool]) -> None:
    """Rename columns, widen their types, drop NOT NULL. Raises SchemaError where a view or rule holds a column."""
    table = place(db, name)
    for old, new in alterations.renames.items():
        db.run(f"ALTER TABLE {table} RENAME COLUMN {quoted(old)} TO {quoted(new)}")
    parts = [f"ALTER COLUMN {quoted(n)} TYPE {native_type(f, types)}" for n, f in alterations.types.items()]
    parts += [f"ALTER COLUMN {quoted(n)} DROP NOT NULL" for n in alterations.optional]
    if not parts:
        return
    try:
        db.run(f"ALTER TABLE {table} {', '.join(parts)}")
    except ConnectorError as error:
        if error.params.get("state") != "0A000":
            raise
        raise SchemaError(
            f"{name!r} cannot follow its source: {error.message}",
            path=name,
            hint=f"drop what holds the column, ALTER TABLE {table} {', '.join(parts)}, and make it again",
        ) from error


_KEYED = """
SELECT k.conrelid::regclass::text, array(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY u(attnum, n)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum ORDER BY u.n)::text[]
FROM pg_catalog.pg_constraint k WHERE k.contype = 'f'
"""


def relate(db: PgDb, streams: Sequence[Write]) -> None:
    """Create the source's foreign keys between tables of this run that do not have them yet."""
    names = {write.stream: write.dataset.name for write in streams}
    wanted = [(w, f) for w in streams for f in w.dataset.foreign_keys if f.target in names]
    if not wanted:
        return
    there = {(str(table), tuple(columns)) for table, columns in db.rows(_KEYED)}
    for write, foreign in wanted:
        table, other = place(db, write.dataset.name), place(db, names[foreign.target])
        if (str(db.rows("SELECT ?::regclass::text", (table,))[0][0]), foreign.columns) in there:
            continue
        columns = ", ".join(quoted(c) for c in foreign.columns)
        refers = ", ".join(quoted(c) for c in foreign.target_columns)
        db.run(f"ALTER TABLE {table} ADD FOREIGN KEY ({columns}) REFERENCES {other} ({refers})")
