"""The CREATE TABLE statements of a SQLite sink, and a table's shape under another name."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from tongqu.connectors.sqlite.catalog import Relation
from tongqu.connectors.sqlite.definition import changed
from tongqu.connectors.sqlite.types import affinity, converted, declaration
from tongqu.core.data import Deletes, Write, WriteMode
from tongqu.kit.db import Db
from tongqu.kit.sql.merging import CURRENT, DELETED_AT, VALID_FROM, VALID_TO
from tongqu.kit.sqlite import quoted, text_literal
from tongqu.meaning.settling import Alterations

_HEAD = re.compile(
    r"""CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?("(?:[^"]|"")*"|\[[^\]]*\]|`(?:[^`]|``)*`|'(?:[^']|'')*'|[^\s(]+)""",
    re.IGNORECASE,
)


def create(write: Write, name: str) -> list[str]:
    """Statements that create a table of that name for the rows that arrive: key, NOT NULL, validity columns."""
    history = write.mode is WriteMode.HISTORY
    key = write.key or write.dataset.key
    key = key if set(key) <= set(write.dataset.schema.names) else ()
    columns = [_column(field, key, history) for field in write.dataset.schema]
    if history:
        columns += [
            f"{quoted(VALID_FROM)} TIMESTAMPTZ NOT NULL",
            f"{quoted(VALID_TO)} TIMESTAMPTZ",
            f"{quoted(CURRENT)} BOOLEAN NOT NULL",
        ]
    if write.deletes is Deletes.SOFT and not history:
        columns.append(f"{quoted(DELETED_AT)} TIMESTAMPTZ")
    if key:
        names = ", ".join(quoted(column) for column in (*key, VALID_FROM)[: len(key) + history])
        columns.append(f"PRIMARY KEY ({names})")
    statements = [f"CREATE TABLE {quoted(name)} ({', '.join(columns)})"]
    if history:
        names = ", ".join(quoted(column) for column in key)
        index = quoted(f"{name}_current")
        statements.append(f"CREATE UNIQUE INDEX {index} ON {quoted(name)} ({names}) WHERE {quoted(CURRENT)}")
    return statements


def _column(field: pa.Field, key: Sequence[str], history: bool) -> str:  # type: ignore[type-arg]  # stubs only
    declared = declaration(field)
    if tuple(key) == (field.name,) and not history and affinity(declared) == "INTEGER":
        declared = "INTEGER"  # the rowid itself: no second index
    required = " NOT NULL" if field.name in key or not field.nullable else ""
    return f"{quoted(field.name)} {declared}{required}"


def create_plain(columns: Sequence[tuple[str, str]], name: str, temporary: bool) -> str:
    """A table of these columns and types without any constraint, for rows that will be merged."""
    words = ", ".join(f"{quoted(column)} {declared}".rstrip() for column, declared in columns)
    return f"CREATE {'TEMP ' if temporary else ''}TABLE {quoted(name)} ({words})"


def create_like(table: Relation, name: str) -> str:
    """The table's own definition under another name: types, key, defaults, checks and constraints stay."""
    found = _HEAD.match(table.definition)
    assert found is not None, table.definition  # noqa: S101 - SQLite stores it in this form
    return f"CREATE TABLE {quoted(name)}{table.definition[found.end() :]}"


def alter(db: Db, name: str, alterations: Alterations) -> None:
    """Rename columns, widen their declared types with the values stored under them, drop NOT NULL."""
    for old, new in alterations.renames.items():
        db.run(f"ALTER TABLE {quoted(name)} RENAME COLUMN {quoted(old)} TO {quoted(new)}")
    if not alterations.types and not alterations.optional:
        return
    found = db.rows("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE", (name,))
    info = db.rows(f"PRAGMA table_xinfo({text_literal(name)})")
    before = {str(column): str(declared or "") for _, column, declared, *_ in info}
    types = {column: declaration(field) for column, field in alterations.types.items()}
    version = int(db.rows("PRAGMA schema_version")[0][0])
    sql = changed(str(found[0][1]), types, alterations.optional)
    db.run("PRAGMA writable_schema = ON")
    db.run("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (sql, found[0][0]))
    db.run(f"PRAGMA schema_version = {version + 1}")
    db.run("PRAGMA writable_schema = OFF")
    sets = [(quoted(column), converted(quoted(column), before[column], new)) for column, new in types.items()]
    moved = [f"{column} = {value}" for column, value in sets if value is not None]
    if moved:
        db.run(f"UPDATE {quoted(name)} SET {', '.join(moved)}")
        db.run(f"REINDEX {quoted(name)}")


def create_rekeyed(write: Write, table: Relation, name: str) -> list[str]:
    """A table of that name for the rows that arrive, with the arriving key, and the columns that only `table` has."""
    added = [column for column in table.columns if column.name not in write.dataset.schema.names]
    more = [
        f"ALTER TABLE {quoted(name)} ADD COLUMN {quoted(column.name)} {column.declared}"
        for column in added
        if not column.generated
    ]
    return [*create(write, name), *more]
