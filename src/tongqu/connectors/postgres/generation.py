"""Staged generations of a PostgreSQL target: built beside it, then swapped in one transaction; the old one is kept."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from tongqu.connectors.postgres import catalog
from tongqu.connectors.postgres.db import PgDb, literal, quoted
from tongqu.connectors.postgres.ddl import alter, exists, find, parts, place, short
from tongqu.connectors.postgres.merging import load_columns, merge, overriding
from tongqu.core.data import Deletes, Written
from tongqu.core.errors import DataError, NotFoundError, RefusedRowsError
from tongqu.kit.sql.landing import Landing
from tongqu.kit.sql.renaming import renamed_in

_SORT_MB = 256
"""Memory for sorting keys while an index is built."""
ROWS_ONLY = "Tongqu: the rows before the last replace"
"""Comment of a kept generation that holds rows but not the table's shape."""


def like_target(db: PgDb, landing: Landing) -> None:
    """Create the stage shaped like the target, without indexes; they are built when all rows are there."""
    target = place(db, landing.write.dataset.name)
    db.run(
        f"CREATE TABLE {place(db, landing.stage)} (LIKE {target} INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY)"
    )


def like_arriving(db: PgDb, landing: Landing) -> None:
    """Create the stage of a history load: the arriving columns in the target's types, without validity columns."""
    names = ", ".join(quoted(n) for n in load_columns(landing))
    target = place(db, landing.write.dataset.name)
    db.run(f"CREATE TABLE {place(db, landing.stage)} AS SELECT {names} FROM {target} WITH NO DATA")


def publish(db: PgDb, landing: Landing) -> Written | None:
    """Make the stage the target: by renaming if nothing hangs on the target, else by merging into it."""
    db.run(f"SET LOCAL maintenance_work_mem = '{_SORT_MB}MB'")
    target = landing.target
    if target is None:
        _key_new(db, landing)
        rename(db, landing.stage, landing.write.dataset.name)
        return None
    if target.pinned:
        return _refill(db, landing)
    _index_like(db, landing)
    _swap(db, landing)
    return None


def _unique_error(landing: Landing, error: RefusedRowsError) -> DataError:
    return DataError(
        f"the key ({', '.join(landing.write.key)}) of {landing.write.dataset.name!r} is not unique: "
        f"{error.params.get('detail', error.message)}",
        path=landing.write.stream,
        hint="choose a key that is unique (--key), or add a deduplicate step; the visible table was not touched",
    )


def _build(db: PgDb, landing: Landing, sql: str) -> None:
    try:
        db.run(sql)
    except RefusedRowsError as error:
        raise _unique_error(landing, error) from None


def _key_new(db: PgDb, landing: Landing) -> None:
    """Key and indexes of a table that did not exist: the source's."""
    write = landing.write
    stage = place(db, landing.stage)
    table = parts(db, write.dataset.name)[1]
    if write.key:
        columns = ", ".join(quoted(n) for n in write.key)
        name = short(table, "_pkey")
        if not exists(db, name):
            _build(db, landing, f"ALTER TABLE {stage} ADD CONSTRAINT {quoted(name)} PRIMARY KEY ({columns})")
        else:
            _build(db, landing, f"ALTER TABLE {stage} ADD PRIMARY KEY ({columns})")
    if write.indexes:
        for index in write.dataset.indexes:
            if all(name in write.dataset.columns for name in index.columns):
                unique = "UNIQUE " if index.unique else ""
                columns = ", ".join(quoted(n) for n in index.columns)
                name = quoted(_index_name(db, table, index.columns))
                _build(db, landing, f"CREATE {unique}INDEX {name} ON {stage} ({columns})")


def _index_name(db: PgDb, table: str, columns: tuple[str, ...]) -> str:
    """A free name like PostgreSQL's own: `table_column_idx`."""
    stem = f"{table}_{'_'.join(columns)}"
    names = (short(stem, f"_idx{number or ''}") for number in range(1000))
    return next(name for name in names if not db.rows("SELECT 1 FROM pg_catalog.pg_class WHERE relname = ?", (name,)))


def moved(name: str) -> str:
    """The name of an index of the kept generation whose name the present one has."""
    return f"_tongqu_old_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _index_like(db: PgDb, landing: Landing) -> None:
    """Build the target's indexes and constraints on the stage, under passing names."""
    relation = _relation(db, landing.write.dataset.name)
    stage = place(db, landing.stage)
    for number, index in enumerate(relation.indexes):
        name = quoted(f"{landing.stage.rpartition('.')[2]}_{number}")
        found = re.match(r"CREATE (UNIQUE )?INDEX .*? ON (?:ONLY )?.*? (USING .*)$", index.definition, re.DOTALL)
        if found is None or (index.primary and landing.rekeyed and not landing.write.key):
            continue
        columns = renamed_in(found[2], landing.alterations.renames)
        if index.primary and landing.rekeyed:
            columns = f"({', '.join(quoted(n) for n in landing.write.key)})"
        _build(db, landing, f"CREATE {found[1] or ''}INDEX {name} ON {stage} {columns}")
        if index.constraint and index.unique:
            kind = "PRIMARY KEY" if index.primary else "UNIQUE"
            deferred = "" if index.immediate else " DEFERRABLE INITIALLY DEFERRED"
            db.run(f"ALTER TABLE {stage} ADD CONSTRAINT {name} {kind} USING INDEX {name}{deferred}")


def _relation(db: PgDb, name: str) -> catalog.Relation:
    relation = find(db, name)
    if relation is None:
        raise NotFoundError(f"the table {name!r} has vanished during the run", hint="run again")
    return relation


def _swap(db: PgDb, landing: Landing) -> None:
    """Rename target to previous and stage to target, indexes with them; rights and owner follow."""
    name = landing.write.dataset.name
    target = place(db, name)
    db.run(f"LOCK TABLE {target} IN ACCESS EXCLUSIVE MODE")
    relation = _relation(db, name)
    schema = quoted(relation.schema)
    db.run(f"DROP TABLE IF EXISTS {place(db, landing.previous)}")
    grant_like(db, relation.oid, place(db, landing.stage))
    for index in relation.indexes:
        db.run(f"ALTER INDEX {schema}.{quoted(index.name)} RENAME TO {quoted(moved(index.name))}")
    rename(db, name, landing.previous)
    rename(db, landing.stage, name)
    for number, index in enumerate(relation.indexes):
        passing = quoted(f"{landing.stage.rpartition('.')[2]}_{number}")
        if db.rows("SELECT to_regclass(?) IS NOT NULL", (f"{schema}.{passing}",))[0][0]:
            db.run(f"ALTER INDEX {schema}.{passing} RENAME TO {quoted(index.name)}")


def rename(db: PgDb, old: str, new: str) -> None:
    """Rename a table inside its schema."""
    db.run(f"ALTER TABLE {place(db, old)} RENAME TO {quoted(parts(db, new)[1])}")


def grant_like(db: PgDb, oid: int, stage: str) -> None:
    """Give the stage the target's rights; owner last, since it may take ours away."""
    granted = db.rows(
        "SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, "
        "a.privilege_type, a.is_grantable, c.relowner <> a.grantee FROM pg_catalog.pg_class c, "
        "aclexplode(c.relacl) a WHERE c.oid = ?::oid",
        (oid,),
    )
    for grantee, privilege, grantable, foreign in granted:
        if foreign:
            db.run(f"GRANT {privilege} ON {stage} TO {grantee}{' WITH GRANT OPTION' if grantable else ''}")
    owner = db.rows(
        "SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_catalog.pg_class "
        "WHERE oid = ?::oid AND pg_get_userbyid(relowner) <> current_user",
        (oid,),
    )
    if owner:
        db.run(f"ALTER TABLE {stage} OWNER TO {owner[0][0]}")


def _refill(db: PgDb, landing: Landing) -> Written:
    """Bring a target that must keep its identity to the staged rows: by key where there is one, so that rows which
    stay are never deleted (foreign keys may cascade); the old rows are copied for undo."""
    target = place(db, landing.write.dataset.name)
    previous = place(db, landing.previous)
    db.run(f"DROP TABLE IF EXISTS {previous}")
    copy_rows(db, target, previous)
    alter(db, landing.write.dataset.name, landing.alterations, {})
    for name in landing.missing:
        db.run(f"ALTER TABLE {target} ADD COLUMN IF NOT EXISTS {quoted(name)} {landing.types[name]}")
    key = landing.write.key or (landing.target.key if landing.target else ())
    if key and all(name in landing.write.dataset.columns for name in key):
        whole = as_full_upsert(landing, key)
        written = merge(db, whole, landing.stage)
        landing.deferred = whole.deferred
        if not whole.deferred:
            db.run(f"DROP TABLE {place(db, landing.stage)}")
        return written
    referenced = [pin for pin in (landing.target.pinned if landing.target else ()) if pin.startswith("foreign key")]
    if referenced:
        raise DataError(
            f"{landing.write.dataset.name!r} has no key and is tied by {', '.join(referenced)}: it cannot be replaced",
            path=landing.write.stream,
            hint="name a unique key with --key, or use --write append",
        )
    deleted = db.run(f"DELETE FROM {target}")
    names = ", ".join(quoted(n) for n in load_columns(landing))
    inserted = db.run(
        f"INSERT INTO {target} ({names}) {overriding(landing)}SELECT {names} FROM {place(db, landing.stage)}"
    )
    db.run(f"DROP TABLE {place(db, landing.stage)}")
    return Written(inserted=inserted, deleted=deleted)


def copy_rows(db: PgDb, target: str, previous: str) -> None:
    """Keep a table's rows under another name (both quoted), marked as rows only: it has neither key nor defaults."""
    db.run(f"CREATE TABLE {previous} AS TABLE {target}")
    db.run(f"COMMENT ON TABLE {previous} IS {literal(ROWS_ONLY)}")


def as_full_upsert(landing: Landing, key: tuple[str, ...]) -> Landing:
    """The landing as an upsert by `key` that deletes what the source lacks."""
    return replace(landing, write=replace(landing.write, key=key, deletes=Deletes.HARD))
