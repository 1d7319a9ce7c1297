"""Puts the kept generation of a DuckDB table back: swapped by renaming, or refilled where foreign keys refer to it."""

from __future__ import annotations

from collections.abc import Callable

from tongqu.connectors.duckdb import catalog
from tongqu.connectors.duckdb.catalog import Relation
from tongqu.connectors.duckdb.db import FILE, DuckDb, literal, parts, place, quoted
from tongqu.core.data import Dataset, Deletes, Write, WriteMode
from tongqu.core.errors import DataError, RefusedRowsError
from tongqu.kit.db import Db
from tongqu.kit.sql.landing import Landing, previous_name
from tongqu.kit.sql.merging import Merging

ROWS_ONLY = "Tongqu: the rows before the last replace"
"""Comment of a kept generation that holds rows but not the table's shape."""


def rename(db: Db, name: str, new: str) -> None:
    """Rename a table inside its schema; it has no indexes then."""
    db.run(f"ALTER TABLE {place(name)} RENAME TO {quoted(parts(new)[1])}")


def drop_indexes(db: Db, table: Relation) -> None:
    """Drop a table's indexes: with one, DuckDB renames and alters nothing."""
    for index in table.indexes:
        db.run(f"DROP INDEX {FILE}.{quoted(table.schema)}.{quoted(index.name)}")


def copy_rows(db: Db, name: str, copy: str) -> None:
    """Keep a table's rows under another name, marked as rows only: it has neither key nor defaults."""
    db.run(f"CREATE TABLE {place(copy)} AS SELECT * FROM {place(name)}")
    db.run(f"COMMENT ON TABLE {place(copy)} IS {literal(ROWS_ONLY)}")


def put_back(db: Db, duck: DuckDb, name: str, differs: Callable[[str, str], str]) -> int:
    """See SqlSink.put_back; everything happens in the open transaction. Indexes stay with the name, except those over
    columns that the kept generation lacks: they are dropped."""
    kept = catalog.need(duck, previous_name(name))
    table = catalog.relation(duck, name)
    aside = f"{kept.name}_back"
    if table is None:
        drop_indexes(db, kept)
        rename(db, kept.name, name)
    elif kept.comment == ROWS_ONLY or catalog.referring(duck, table):
        _refill(db, duck, table, kept, differs)
    else:
        drop_indexes(db, table)
        drop_indexes(db, kept)
        rename(db, kept.name, aside)
        rename(db, name, kept.name)
        rename(db, aside, name)
        columns = {column.name for column in kept.columns}
        for index in table.indexes:
            if index.columns is None or set(index.columns) <= columns:
                db.run(index.definition)
    return int(db.rows(f"SELECT count(*) FROM {place(name)}")[0][0])


def _refill(db: Db, duck: DuckDb, table: Relation, kept: Relation, differs: Callable[[str, str], str]) -> None:
    """Bring the table to the kept rows by its key; its own rows become the kept ones. Columns that only one of the two
    has are added to the other, so no value is lost."""
    if not table.key:
        raise DataError(
            f"{table.name!r} has no key, so its kept rows cannot be put back in place",
            path=table.name,
            hint=f"add a primary key, or copy them from {kept.name} by hand",
        )
    aside = f"{kept.name}_back"
    copy_rows(db, table.name, aside)
    _add_missing(db, kept, table)
    _add_missing(db, table, kept)
    table, kept = catalog.need(duck, table.name), catalog.need(duck, kept.name)
    columns = tuple(column.name for column in table.columns if not column.generated)
    dataset = Dataset(table.name, catalog.schema(table), table.key)
    write = Write("undo", dataset, WriteMode.REPLACE, "undo", "undo", table.key, Deletes.HARD)
    step = Merging(db, place(table.name), place(kept.name), table.key, columns, "", False, differs)
    try:
        step.merge(Landing(write, 0, None))
    except RefusedRowsError as error:
        raise DataError(
            f"the kept rows of {table.name!r} cannot be put back: {error.message}",
            path=table.name,
            hint="if rows of another table refer to rows that would go, undo that table first",
        ) from None
    db.run(f"DROP TABLE {place(kept.name)}")
    rename(db, aside, kept.name)


def _add_missing(db: Db, table: Relation, like: Relation) -> None:
    known = {column.name for column in table.columns}
    added = [column for column in like.columns if column.name not in known and not column.generated]
    if added:
        drop_indexes(db, table)
        for column in added:
            db.run(f"ALTER TABLE {place(table.name)} ADD COLUMN {quoted(column.name)} {column.type}")
        for index in table.indexes:
            db.run(index.definition)
