"""The statements that give a DuckDB table its shape: new, like another one, and the parts that come after the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tongqu.connectors.duckdb.catalog import Relation
from tongqu.connectors.duckdb.db import FILE, literal, parts, place, quoted
from tongqu.connectors.duckdb.types import declaration
from tongqu.core.data import Deletes, Meta, Write, WriteMode
from tongqu.kit.sql.landing import Landing
from tongqu.kit.sql.merging import CURRENT, DELETED_AT, VALID_FROM, VALID_TO
from tongqu.meaning.settling import Alterations


def key_of(write: Write) -> tuple[str, ...]:
    """The key a new table gets."""
    key = write.key or write.dataset.key
    return tuple(key) if set(key) <= set(write.dataset.schema.names) else ()


def create(write: Write, name: str, *, keyed: bool) -> list[str]:
    """Statements that create a table of that name for the rows that arrive, with titles as comments."""
    history = write.mode is WriteMode.HISTORY
    key = key_of(write)
    parts = []
    for field in write.dataset.schema:
        required = " NOT NULL" if field.name in key or not field.nullable else ""
        parts.append(f"{quoted(field.name)} {declaration(field)}{required}")
    if history:
        parts += [
            f"{quoted(VALID_FROM)} TIMESTAMPTZ NOT NULL",
            f"{quoted(VALID_TO)} TIMESTAMPTZ",
            f"{quoted(CURRENT)} BOOLEAN NOT NULL",
        ]
    elif write.deletes is Deletes.SOFT:
        parts.append(f"{quoted(DELETED_AT)} TIMESTAMPTZ")
    if key and keyed:
        parts.append(f"PRIMARY KEY ({_names((*key, VALID_FROM) if history else key)})")
    return [*_schema(name), f"CREATE TABLE {place(name)} ({', '.join(parts)})", *comments(write, name)]


def create_like(table: Relation, name: str) -> list[str]:
    """Another table of the same shape without its key, unique constraints and indexes, which come after the rows."""
    parts = []
    for column in table.columns:
        extra = " NOT NULL" if column.required else ""
        if column.generated:
            extra = f" GENERATED ALWAYS AS ({column.default})"
        elif column.default is not None:
            extra += f" DEFAULT ({column.default})"
        parts.append(f"{quoted(column.name)} {column.type}{extra}")
    parts += [f"CHECK ({check})" for check in table.checks]
    parts += [text for text, _ in table.foreign]
    statements = [f"CREATE TABLE {place(name)} ({', '.join(parts)})"]
    if table.comment:
        statements.append(f"COMMENT ON TABLE {place(name)} IS {literal(table.comment)}")
    for column in table.columns:
        if column.comment:
            statements.append(_comment(name, column.name, column.comment))
    return statements


def create_plain(columns: Sequence[tuple[str, str]], into: str) -> str:
    """A table of these columns and types without any constraint, for rows that will be merged."""
    kind = "TEMP TABLE" if into.startswith("temp.") else "TABLE"
    return f"CREATE {kind} {into} ({', '.join(f'{quoted(column)} {type_}' for column, type_ in columns)})"


def comments(write: Write, name: str) -> list[str]:
    """The titles of the dataset and its fields as comments."""
    found = [f"COMMENT ON TABLE {place(name)} IS {literal(write.dataset.title)}"] if write.dataset.title else []
    for field in write.dataset.schema:
        title = (field.metadata or {}).get(Meta.TITLE.encode())
        if title:
            found.append(_comment(name, field.name, title.decode()))
    return found


def add_column(name: str, field: Any) -> str:
    """Adds a nullable column."""
    return f"ALTER TABLE {place(name)} ADD COLUMN {quoted(field.name)} {declaration(field)}"


def alter(name: str, alterations: Alterations) -> list[str]:
    """Renames columns, widens their types, drops NOT NULL. The table has no indexes then."""
    table = f"ALTER TABLE {place(name)}"
    statements = [f"{table} RENAME COLUMN {quoted(a)} TO {quoted(b)}" for a, b in alterations.renames.items()]
    statements += [f"{table} ALTER {quoted(n)} SET DATA TYPE {declaration(f)}" for n, f in alterations.types.items()]
    return statements + [f"{table} ALTER {quoted(n)} DROP NOT NULL" for n in alterations.optional]


def keys_like(table: Relation, name: str, landing: Landing) -> list[str]:
    """The primary key (the arriving one if it has changed) and unique constraints (as unique indexes) of a table, for
    another one that holds rows."""
    new = landing.alterations.renames
    primary = landing.write.key if landing.rekeyed else tuple(new.get(n, n) for n in table.primary)
    statements = [f"ALTER TABLE {place(name)} ADD PRIMARY KEY ({_names(primary)})"] if primary else []
    for number, names in enumerate(tuple(new.get(n, n) for n in names) for names in table.unique):
        index = quoted(f"{name.rpartition('.')[2]}_unique_{number}")
        statements.append(f"CREATE UNIQUE INDEX {index} ON {place(name)} ({_names(names)})")
    return statements


def indexes(write: Write) -> list[str]:
    """The source's secondary indexes for a new table."""
    name = write.dataset.name
    statements = []
    for index in write.dataset.indexes if write.indexes else ():
        if set(index.columns) <= set(write.dataset.schema.names) and index.columns != key_of(write):
            unique = "UNIQUE " if index.unique and write.mode is not WriteMode.HISTORY else ""
            title = quoted(f"{name.rpartition('.')[2]}_{'_'.join(index.columns)}_idx")
            statements.append(f"CREATE {unique}INDEX IF NOT EXISTS {title} ON {place(name)} ({_names(index.columns)})")
    return statements


def _names(columns: Sequence[str]) -> str:
    return ", ".join(quoted(column) for column in columns)


def _schema(name: str) -> list[str]:
    schema = parts(name)[0]
    return [f"CREATE SCHEMA IF NOT EXISTS {FILE}.{quoted(schema)}"] if schema != "main" else []


def _comment(name: str, column: str, text: str) -> str:
    return f"COMMENT ON COLUMN {place(name)}.{quoted(column)} IS {literal(text)}"
