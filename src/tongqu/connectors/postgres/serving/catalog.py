"""What a serving connection asks PostgreSQL's catalogue: tables, collations, the columns of a statement, its cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongqu.connectors.postgres import catalog
from tongqu.connectors.postgres.db import PgDb
from tongqu.connectors.postgres.serving.sql import Attribute, Statement, numbered
from tongqu.connectors.postgres.types import arrow_type
from tongqu.core.data import Dataset, Meta
from tongqu.core.errors import ExpressionError, NotFoundError
from tongqu.core.server import Cost
from tongqu.kit.drivers import driver
from tongqu.kit.serving.trees import bind, holes

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.connectors.postgres.serving.connection import Connection
    from tongqu.connectors.postgres.settings import PostgresSettings

_COLLATIONS = """
SELECT d.datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8')
         AND coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') IN ('c', 'b'),
       coalesce(bool_or(l.collname NOT IN ('default', 'C', 'POSIX', 'ucs_basic', 'C.utf8', 'C.UTF-8', 'pg_c_utf8')),
                false),
       coalesce(bool_or(NOT l.collisdeterministic), false)
FROM pg_database d
LEFT JOIN (pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
           JOIN pg_collation l ON l.oid = a.attcollation) ON a.attnum > 0 AND NOT a.attisdropped
WHERE d.datname = current_database() GROUP BY 1
"""
_PLACE = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND ((n.nspname = current_schema() AND c.relname = $1) OR (n.nspname || '.' || c.relname) = $1)
ORDER BY n.nspname <> current_schema() LIMIT 1
"""
_FORMATS = """
SELECT pg_catalog.format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END,
                              CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE w.mod END),
       coalesce(e.typtype, t.typtype)::text
FROM unnest(?::oid[], ?::int[]) WITH ORDINALITY w(oid, mod, place) JOIN pg_catalog.pg_type t ON t.oid = w.oid
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' ORDER BY w.place
"""
_PREPARED = b"tongqu"


@dataclass(frozen=True)
class Collations:
    """Whether all text of the database is ordered by code point by itself, and whether some of it compares as equal
    what is different."""

    plain: bool = False
    loose: bool = True


async def collations(connection: Connection) -> Collations:
    """How the database compares text now."""
    row = (await connection.raw.fetch(_COLLATIONS))[0]
    return Collations(plain=row[0] and not row[1], loose=row[2])


async def place(connection: Connection, name: str) -> tuple[str, str]:
    """The schema and table of a dataset's name; raises NotFoundError."""
    rows = await connection.raw.fetch(_PLACE, name)
    if not rows:
        raise NotFoundError(f"there is no table or view {name!r}")
    return rows[0][0], rows[0][1]


def is_text(attribute: Attribute) -> bool:
    """Whether a column has a collation that matters."""
    return attribute.type in ("text", "varchar", "bpchar", "citext")


def described(settings: PostgresSettings, name: str) -> Dataset:
    """A table or view; blocking."""
    db = PgDb(settings, "serve")
    try:
        found = [one for one in catalog.relations(db, [name]) if name in (one.name, f"{one.schema}.{one.table}")]
        if not found:
            raise NotFoundError(f"there is no table or view {name!r}", path=settings.display())
        return catalog.dataset(found[0], {})
    finally:
        db.close()


def approved(sql: str, params: Mapping[str, Any]) -> Statement:
    """An approved SELECT with `$n`; raises ExpressionError."""
    tree = bind(sql, "postgres")
    unknown = sorted({hole.name for hole in holes(tree)} - set(params))
    if unknown:
        raise ExpressionError(f"the statement has a parameter that is not declared: {', '.join(unknown)}")
    return numbered(tree)


def columns_of(settings: PostgresSettings, statement: Statement) -> pa.Schema:
    """What a statement gives, prepared and not run; blocking."""
    import pyarrow as pa

    psycopg = driver("psycopg", "postgres")
    db = PgDb(settings, "serve")
    try:
        wire = db.connection.pgconn
        made = wire.prepare(_PREPARED, statement.sql.encode())
        if made.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            told = made.error_field(psycopg.pq.DiagnosticField.MESSAGE_PRIMARY) or b""
            raise ExpressionError(f"the database does not take the statement: {told.decode(errors='replace')}")
        found = wire.describe_prepared(_PREPARED)
        count = range(found.nfields)
        types, mods = [found.ftype(n) for n in count], [found.fmod(n) for n in count]
        names = [(found.fname(n) or b"").decode() for n in count]
        natives = db.rows(_FORMATS, (types, mods))
    finally:
        db.close()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ExpressionError(f"two columns are called {', '.join(twice)}", hint="give each column a name of its own")
    return pa.schema([_field(name, *native) for name, native in zip(names, natives, strict=True)])


def _field(name: str, native: str, kind: str) -> pa.Field[Any]:
    import pyarrow as pa

    made, logical = arrow_type(native, {"e": "enum"}.get(kind))
    metadata = {str(Meta.NATIVE): f"postgres:{native}"} | ({str(Meta.LOGICAL): logical} if logical else {})
    return pa.field(name, made, metadata=metadata)


def cost(plan: Any) -> Cost:
    """The cost of an explained statement; its plan as the operations on tables, without conditions and values."""
    root = plan[0]["Plan"]
    lines: list[str] = []
    return Cost(rows=_leaves(root, 0, lines), total=float(root["Total Cost"]), plan="\n".join(lines))


def _leaves(node: Mapping[str, Any], depth: int, lines: list[str]) -> float:
    what = " ".join(str(node[word]) for word in ("Relation Name", "Index Name") if word in node)
    lines.append(f"{'  ' * depth}{node['Node Type']} {what}".rstrip() + f" rows={node['Plan Rows']}")
    inner = node.get("Plans", ())
    below = sum(_leaves(one, depth + 1, lines) for one in inner)
    return below if inner else float(node["Plan Rows"])
