"""Puts the kept generation of a PostgreSQL table back: swapped by renaming, or refilled where it keeps its identity."""

from __future__ import annotations

import hashlib

from tongqu.connectors.postgres import catalog
from tongqu.connectors.postgres.db import PgDb, quoted
from tongqu.connectors.postgres.ddl import find, parts, place, target, types
from tongqu.connectors.postgres.generation import ROWS_ONLY, copy_rows, grant_like, moved, rename
from tongqu.connectors.postgres.merging import Merge, load_columns, overriding
from tongqu.core.data import Write, WriteMode
from tongqu.core.errors import DataError, RefusedRowsError
from tongqu.kit.ledger import PREFIX
from tongqu.kit.sql.landing import Landing, Target, previous_name


def put_back(db: PgDb, name: str) -> int:
    """See SqlSink.put_back; everything happens in the open transaction."""
    kept = previous_name(name)
    present = target(db, name)
    if present is None:
        rename(db, kept, name)
    elif present.pinned or _rows_only(db, kept):
        _refill(db, name, kept)
    else:
        _swap(db, name, kept)
    return int(db.rows(f"SELECT count(*) FROM {place(db, name)}")[0][0])


def _rows_only(db: PgDb, kept: str) -> bool:
    found = db.rows("SELECT obj_description(to_regclass(?), 'pg_class') = ?", (place(db, kept), ROWS_ONLY))
    return bool(found[0][0])


def _aside(name: str) -> str:
    schema, dot, _ = name.rpartition(".")
    return f"{schema}{dot}{PREFIX}undo_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


# ---- by renaming


def _swap(db: PgDb, name: str, kept: str) -> None:
    """Exchange the names of the tables and of their indexes (constraints follow their index); rights stay as they are
    on the visible table."""
    db.run(f"LOCK TABLE {place(db, name)} IN ACCESS EXCLUSIVE MODE")
    out, back = find(db, name), find(db, kept)
    assert out is not None and back is not None  # noqa: S101  # both were found in this transaction
    schema, aside = quoted(out.schema), _aside(name)
    passing = [f"{parts(db, aside)[1]}_{number}" for number in range(len(back.indexes))]

    def rename_index(old: str, new: str) -> None:
        db.run(f"ALTER INDEX {schema}.{quoted(old)} RENAME TO {quoted(new)}")

    for index, between in zip(back.indexes, passing, strict=True):
        rename_index(index.name, between)
    for index in out.indexes:
        rename_index(index.name, moved(index.name))
    _revoke(db, back.oid, place(db, kept))
    grant_like(db, out.oid, place(db, kept))
    rename(db, name, aside)
    rename(db, kept, name)
    rename(db, aside, kept)
    original = {moved(index.name): index.name for index in out.indexes}
    for index, between in zip(back.indexes, passing, strict=True):
        rename_index(between, original.get(index.name, index.name))


def _revoke(db: PgDb, oid: int, table: str) -> None:
    """Take away what others may do, so that a right withdrawn since the replace does not come back."""
    granted = db.rows(
        "SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END "
        "FROM pg_catalog.pg_class c, aclexplode(c.relacl) a WHERE c.oid = ?::oid AND c.relowner <> a.grantee",
        (oid,),
    )
    for (grantee,) in granted:
        db.run(f"REVOKE ALL ON {table} FROM {grantee} CASCADE")


# ---- in place


def _refill(db: PgDb, name: str, kept: str) -> None:
    """Bring a table that keeps its identity to the kept rows, by key where it has one; its rows become the kept ones.
    Columns that only one of the two has are added to the other, so no value is lost."""
    table, aside = place(db, name), _aside(name)
    db.run(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
    db.run(f"DROP TABLE IF EXISTS {place(db, aside)}")
    copy_rows(db, table, place(db, aside))
    _add_missing(db, kept, types(db, name))
    _add_missing(db, name, types(db, kept))
    try:
        _bring(db, name, kept)
    except RefusedRowsError as error:
        raise DataError(
            f"the kept rows of {name!r} cannot be put back: {error.params.get('detail', error.message)}",
            path=name,
            hint="if rows of another table refer to rows that would go, undo that table first",
        ) from None
    db.run(f"DROP TABLE {place(db, kept)}")
    rename(db, aside, kept)


def _add_missing(db: PgDb, name: str, wanted: dict[str, str]) -> None:
    for column, kind in wanted.items():
        db.run(f"ALTER TABLE {place(db, name)} ADD COLUMN IF NOT EXISTS {quoted(column)} {kind}")


def _bring(db: PgDb, name: str, kept: str) -> None:
    present, relation = target(db, name), find(db, name)
    assert present is not None and relation is not None  # noqa: S101  # locked in this transaction
    dataset = catalog.dataset(relation, {})
    write = Write("undo", dataset, WriteMode.REPLACE, "undo", "undo", dataset.key)
    landing = Landing(write, 0, present, types(db, name))
    if not dataset.key:
        _bring_all(db, landing, present, kept)
        return
    step = Merge(db, landing, place(db, kept))
    if step.upsert().merged:
        raise DataError(
            f"the kept rows of {name!r} repeat its key ({', '.join(dataset.key)}), so they cannot be put back",
            path=name,
            hint=f"they are in {kept}",
        )
    step.delete_missing()


def _bring_all(db: PgDb, landing: Landing, present: Target, kept: str) -> None:
    name = landing.write.dataset.name
    referring = [pin for pin in present.pinned if pin.startswith("foreign key")]
    if referring:
        raise DataError(
            f"{name!r} has no key and is tied by {', '.join(referring)}: its kept rows cannot be put back",
            path=name,
            hint=f"add a primary key, or copy them from {kept} by hand",
        )
    names = ", ".join(quoted(column) for column in load_columns(landing))
    db.run(f"DELETE FROM {place(db, name)}")
    db.run(f"INSERT INTO {place(db, name)} ({names}) {overriding(landing)}SELECT {names} FROM {place(db, kept)}")
