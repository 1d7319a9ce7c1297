"""Keeps the rows a refill replaces, and puts a table's kept generation back: by one RENAME, or in place."""

from __future__ import annotations

import hashlib

from tongqu.connectors.mysql import catalog, ddl
from tongqu.connectors.mysql.db import MysqlDb, quoted
from tongqu.connectors.mysql.merging import Merge
from tongqu.core.data import Deletes, Write, WriteMode
from tongqu.core.errors import DataError, RefusedRowsError
from tongqu.kit.ledger import PREFIX
from tongqu.kit.sql.landing import Landing, Target, previous_name


def keep(db: MysqlDb, name: str, present: Target) -> None:
    """Copy a table's rows into its kept generation; the rows belong to the open transaction, which begins here."""
    table, kept = ddl.place(db, name), ddl.place(db, previous_name(name))
    db.run(f"DROP TABLE IF EXISTS {kept}")
    db.run(f"CREATE TABLE {kept} LIKE {table}")
    columns = ", ".join(quoted(column) for column in present.written)
    db.run(f"INSERT INTO {kept} ({columns}) SELECT {columns} FROM {table}")


def put_back(db: MysqlDb, name: str) -> int:
    """See SqlSink.put_back. A RENAME commits by itself; a refill waits for the caller's commit."""
    present = ddl.target(db, name)
    table, kept = ddl.place(db, name), ddl.place(db, previous_name(name))
    if present is None:
        db.run(f"RENAME TABLE {kept} TO {table}")
    elif present.pinned:
        _refill(db, name, present)
    else:
        aside = ddl.place(db, _aside(name))
        db.run(f"RENAME TABLE {table} TO {aside}, {kept} TO {table}, {aside} TO {kept}")
    return int(db.rows(f"SELECT COUNT(*) FROM {table}")[0][0])


def _aside(name: str) -> str:
    schema, dot, _ = name.rpartition(".")
    return f"{schema}{dot}{PREFIX}undo_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _refill(db: MysqlDb, name: str, present: Target) -> None:
    """Exchange the rows of the two tables in one transaction. Columns that only one of them has are added to the other
    before, which commits but changes no value."""
    kept = previous_name(name)
    old = ddl.target(db, kept)
    assert old is not None  # noqa: S101  # it was found before
    _add_missing(db, kept, present, old)
    _add_missing(db, name, old, present)
    present, old = ddl.target(db, name) or present, ddl.target(db, kept) or old
    table, back, aside = (ddl.place(db, one) for one in (name, kept, _aside(name)))
    columns = ", ".join(quoted(n) for n in old.written if n in present.columns)
    db.run(f"DROP TEMPORARY TABLE IF EXISTS {aside}")
    db.run(f"CREATE TEMPORARY TABLE {aside} LIKE {back}")  # neither statement ends the transaction
    db.run(f"INSERT INTO {aside} ({columns}) SELECT {columns} FROM {table}")
    try:
        _bring(db, name, present)
    except RefusedRowsError as error:
        raise DataError(
            f"the kept rows of {name!r} cannot be put back: {error.message}", path=name,
            hint="if rows of another table refer to rows that would go, undo that table first",
        ) from None  # fmt: skip
    db.run(f"DELETE FROM {back}")
    db.run(f"INSERT INTO {back} ({columns}) SELECT {columns} FROM {aside}")
    db.run(f"DROP TEMPORARY TABLE {aside}")


def _add_missing(db: MysqlDb, name: str, like: Target, own: Target) -> None:
    added = [f"ADD COLUMN {quoted(n)} {like.columns[n]} NULL" for n in like.written if n not in own.columns]
    if added:
        db.run(f"ALTER TABLE {ddl.place(db, name)} {', '.join(added)}")


def _bring(db: MysqlDb, name: str, present: Target) -> None:
    """Make the table's rows the kept ones: by its key, so that rows which stay are never deleted."""
    info = catalog.find(db, name)
    assert info is not None  # noqa: S101  # it was found before
    table, back = ddl.place(db, name), ddl.place(db, previous_name(name))
    if not info.key:
        columns = ", ".join(quoted(n) for n in present.written)
        db.run(f"DELETE FROM {table}")
        db.run(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {back}")
        return
    write = Write("undo", catalog.dataset(info), WriteMode.REPLACE, "undo", "undo", info.key)
    Merge(db, Landing(write, 0, present, dict(present.columns)), back).upsert(Deletes.HARD)
