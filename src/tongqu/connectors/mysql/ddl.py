"""Creates, describes and swaps the tables a sink writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tongqu.connectors.mysql import catalog
from tongqu.connectors.mysql.db import MysqlDb, literal, quoted
from tongqu.connectors.mysql.types import Native, column_type, indexable, same_type
from tongqu.core.data import Deletes, Meta, Write, WriteMode
from tongqu.core.errors import InvalidPlanError, SchemaError
from tongqu.kit.sql.landing import Landing, Target
from tongqu.meaning.settling import Alterations

SEQUENCE = "_tongqu_seq"
DELETED = "_deleted_at"
HISTORY = {"_valid_from": "datetime(6) NOT NULL", "_valid_to": "datetime(6) NULL", "_current": "tinyint(1) NOT NULL"}
_MARIADB = {"uuid": "char(36)", "inet4": "varchar(15)", "inet6": "varchar(45)"}
_TRANSACTIONAL = ("INNODB", "ROCKSDB", "TOKUDB", "XPAND", "OCEANBASE", "TIDB")


def place(db: MysqlDb, name: str) -> str:
    """A dataset's quoted table with its database."""
    schema, table = _parts(db, name)
    return f"{quoted(schema)}.{quoted(table)}"


def _parts(db: MysqlDb, name: str) -> tuple[str, str]:
    if "." not in name or _exists(db, db.settings.database, name):
        return db.settings.database, name
    return catalog.parts(db, name)


def has_table(db: MysqlDb, name: str) -> bool:
    """Whether a table of that name exists."""
    return _exists(db, *_parts(db, name))


def _exists(db: MysqlDb, schema: str, table: str) -> bool:
    if not _namable(table):
        return False
    sql = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
    return bool(db.rows(sql, (schema, table))[0][0])


def _namable(name: str) -> bool:
    """Whether every character is one of utf8mb3, as names are stored."""
    return all(ord(character) <= 0xFFFF for character in name)


def namable_columns(names: Sequence[str], path: str) -> None:
    """Raise SchemaError for a column that cannot be called so here."""
    for name in names:
        if not _namable(name):
            raise SchemaError(
                f"a column cannot be called {name!r}: it has a character that no name can have here (utf8mb3)",
                path=path, field=name, hint="rename the column in a step (rename:)",
            )  # fmt: skip


def target(db: MysqlDb, name: str) -> Target | None:
    """The table as it is now, or None. Raises SchemaError for views and for engines without transactions."""
    if not _namable(name):
        raise SchemaError(
            f"{name!r} has a character that no name can have here (utf8mb3)", path=name,
            hint="give the target another name: --table 'name=other'",
        )  # fmt: skip
    found = catalog.find(db, name)
    if found is None:
        return None
    if found.view:
        raise SchemaError(f"{name!r} is a view, which cannot be loaded", path=name, hint="name a table")
    if found.engine and found.engine.upper() not in _TRANSACTIONAL:
        raise SchemaError(
            f"{name!r} is a {found.engine} table: it has no transactions, so a crash would leave half a chunk in it",
            path=name, hint=f"ALTER TABLE {found.place} ENGINE=InnoDB",
        )  # fmt: skip
    return Target(
        columns={column.name: column.ddl for column in found.columns},
        key=found.key,
        unique=tuple(index.columns for index in found.indexes if index.unique),
        written=tuple(column.name for column in found.columns if column.generated is None),
        required=tuple(column.name for column in found.columns if _required(column)),
        pinned=_pinned(db, found),
    )


def _required(column: catalog.ColumnInfo) -> bool:
    if column.name in HISTORY or "auto_increment" in column.extra.lower() or column.generated:
        return False
    return not column.nullable and column.default is None


def _pinned(db: MysqlDb, table: catalog.TableInfo) -> tuple[str, ...]:
    """Foreign keys (both ways) and triggers would stay with the old table after a swap; views follow the name."""
    where = (table.schema, table.table)
    keys = db.rows(
        "SELECT DISTINCT CONSTRAINT_NAME, TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE "
        "WHERE REFERENCED_TABLE_NAME IS NOT NULL AND ((REFERENCED_TABLE_SCHEMA = ? AND REFERENCED_TABLE_NAME = ?) "
        "OR (TABLE_SCHEMA = ? AND TABLE_NAME = ?))", (*where, *where),
    )  # fmt: skip
    triggers = db.rows(
        "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = ? AND EVENT_OBJECT_TABLE = ?",
        where,
    )
    return (*(f"foreign key {name} of {owner}" for name, owner in keys), *(f"trigger {name}" for (name,) in triggers))


def exact_collation(db: MysqlDb) -> str:
    """A collation under which only identical strings are equal, trailing spaces included where the server has one."""
    if db.is_mariadb:
        return "utf8mb4_nopad_bin"
    known = db.rows("SELECT COUNT(*) FROM information_schema.COLLATIONS WHERE COLLATION_NAME = 'utf8mb4_0900_bin'")
    return "utf8mb4_0900_bin" if known[0][0] else "utf8mb4_bin"


def column_types(db: MysqlDb, write: Write) -> dict[str, str]:
    """DDL types for the arriving columns, in words this server knows."""
    exact = exact_collation(db)
    types = {f.name: column_type(f, key=f.name in write.key, exact=exact) for f in write.dataset.schema}
    return {name: _known(db, kind, exact if name in write.key else None) for name, kind in types.items()}


def _known(db: MysqlDb, kind: str, exact: str | None) -> str:
    """A type that comes from another server of the family, without collations and types this one does not have."""
    if not db.is_mariadb and kind in _MARIADB:
        return _MARIADB[kind]
    found = re.search(r" COLLATE (\w+)$", kind)
    if found is None:
        return kind
    sql = "SELECT COUNT(*) FROM information_schema.COLLATIONS WHERE COLLATION_NAME = ?"
    if db.rows(sql, (found[1],))[0][0]:
        return kind
    plain = re.sub(r" CHARACTER SET \w+ COLLATE \w+$", " CHARACTER SET utf8mb4", kind)
    return f"{plain} COLLATE {exact}" if exact else plain


def definition(field: pa.Field[Any], kind: str, *, nullable: bool) -> str:
    """One column of CREATE or ALTER TABLE, with its title as comment."""
    title = (field.metadata or {}).get(Meta.TITLE.encode(), b"").decode()
    comment = f" COMMENT {literal(title[:1024])}" if title else ""
    null = "" if nullable else " NOT NULL"
    return f"{quoted(field.name)} {kind}{null or ' NULL'}{comment}"


def create_table(db: MysqlDb, write: Write, name: str) -> None:
    """Create a table for the arriving schema, with key, titles and (history) validity columns. Commits."""
    namable_columns(write.dataset.columns, write.stream)
    types = column_types(db, write)
    parts = [
        definition(f, types[f.name], nullable=f.nullable and f.name not in write.key) for f in write.dataset.schema
    ]
    key = list(write.key)
    if write.mode is WriteMode.HISTORY:
        parts += [f"{quoted(column)} {kind}" for column, kind in HISTORY.items()]
        key.append("_valid_from")
    if write.deletes is Deletes.SOFT and write.mode is not WriteMode.HISTORY:
        parts.append(f"{quoted(DELETED)} datetime(6) NULL")
    if write.key:
        parts.append(f"PRIMARY KEY ({', '.join(quoted(column) for column in key)})")
    comment = f" COMMENT = {literal(write.dataset.title[:2048])}" if write.dataset.title else ""
    db.run(f"CREATE TABLE {place(db, name)} ({', '.join(parts)}) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4{comment}")


def add_columns(db: MysqlDb, name: str, fields: Sequence[pa.Field[Any]], kinds: dict[str, str]) -> None:
    """Add nullable columns. Commits."""
    if fields:
        namable_columns([field.name for field in fields], name)
        added = ", ".join(f"ADD COLUMN {definition(f, kinds[f.name], nullable=True)}" for f in fields)
        db.run(f"ALTER TABLE {place(db, name)} {added}")


_TYPE = re.compile(
    r"[a-z]\w*(?:\((?:'(?:[^']|\'\')*'|[^)'])*\))?(?: unsigned)?(?: zerofill)?(?: CHARACTER SET \w+)?(?: COLLATE \w+)?",
    re.IGNORECASE,
)


def alter(db: MysqlDb, name: str, alterations: Alterations) -> None:
    """Rename columns, widen their types, drop NOT NULL; defaults and comments stay. Commits."""
    if not alterations:
        return
    table = place(db, name)
    for old, new in alterations.renames.items():
        db.run(f"ALTER TABLE {table} RENAME COLUMN {quoted(old)} TO {quoted(new)}")
    found = catalog.find(db, name)
    exact = exact_collation(db)
    parts = []
    for column in dict.fromkeys((*alterations.types, *alterations.optional)):
        kind, rest = _defined(db, table, column)
        if column in alterations.types:
            keyed = found is not None and any(column in index.columns for index in found.indexes)
            field = alterations.types[column]
            kind = _known(db, column_type(field, key=keyed, exact=exact), exact if keyed else None)
        if column in alterations.optional:
            rest = rest.replace("NOT NULL", "NULL", 1)
        parts.append(f"MODIFY COLUMN {quoted(column)} {kind} {rest}")
    if parts:
        db.run(f"ALTER TABLE {table} {', '.join(parts)}")


def would_be(db: MysqlDb, native: str, field: pa.Field[Any]) -> bool:
    """Whether a new column for the field would hold the same values as one of this type, be it in a key or not."""
    exact = exact_collation(db)
    made = {_known(db, column_type(field, key=key, exact=exact), exact if key else None) for key in (False, True)}
    return any(same_type(native, kind) for kind in made)


def _defined(db: MysqlDb, table: str, column: str) -> tuple[str, str]:
    """A column's type, and what follows it in its definition."""
    text = str(db.rows(f"SHOW CREATE TABLE {table}")[0][1])
    line = next(part for part in text.split("\n") if part.strip().startswith(f"{quoted(column)} "))
    definition = line.strip().removesuffix(",")[len(quoted(column)) + 1 :]
    kind = _TYPE.match(definition)
    end = kind.end() if kind else 0
    return definition[:end], definition[end:].strip()


def rekey(db: MysqlDb, name: str, write: Write) -> None:
    """Give an empty table the arriving key in place of its primary key. Commits."""
    found = catalog.find(db, name)
    table, types = place(db, name), column_types(db, write)
    there = found is not None and any(index.name == "PRIMARY" for index in found.indexes)
    parts = ["DROP PRIMARY KEY"] if there else []
    for column in write.key:
        own = next((c for c in found.columns if c.name == column), None) if found else None
        if own is not None and not indexable(own.ddl):
            parts.append(f"MODIFY COLUMN {quoted(column)} {types[column]} NOT NULL")
    if write.key:
        parts.append(f"ADD PRIMARY KEY ({', '.join(quoted(column) for column in write.key)})")
    if parts:
        db.run(f"ALTER TABLE {table} {', '.join(parts)}")


def add_technical(db: MysqlDb, landing: Landing) -> None:
    """Give an existing target the columns that history and soft deletes need. Commits if something was missing."""
    write, found = landing.write, landing.target
    if found is None:
        return
    wanted: dict[str, str] = {}
    if write.mode is WriteMode.HISTORY:
        if set(found.key) == set(write.key):
            raise InvalidPlanError(
                f"{write.dataset.name!r} has the primary key ({', '.join(found.key)}), so it can hold one version of a "
                "row only", path=write.stream, hint="add _valid_from to its key, or write history to a new table",
            )  # fmt: skip
        wanted = {"_valid_from": "datetime(6) NOT NULL DEFAULT '1970-01-01'", "_valid_to": "datetime(6) NULL",
                  "_current": "tinyint(1) NOT NULL DEFAULT 1"}  # fmt: skip
    elif write.deletes is Deletes.SOFT:
        wanted = {DELETED: "datetime(6) NULL"}
    missing = [f"ADD COLUMN {quoted(n)} {kind}" for n, kind in wanted.items() if n not in found.columns]
    if missing:
        db.run(f"ALTER TABLE {place(db, write.dataset.name)} {', '.join(missing)}")


def load_columns(landing: Landing) -> list[str]:
    """The arriving columns that are written, in order."""
    found, names = landing.target, landing.write.dataset.schema.names
    return [n for n in names if found is None or n not in found.columns or n in found.written]


def _keyed(landing: Landing, types: dict[str, str]) -> dict[str, str]:
    """The types, whose key columns must be indexable as a whole."""
    for name in landing.write.key:
        if not indexable(types[name]):
            raise SchemaError(
                f"the key column {name!r} is {Native.parse(types[name]).name.upper()}, which cannot be a whole key",
                path=landing.write.stream, field=name, hint="make it VARCHAR(n) or VARBINARY(n) in the target",
            )  # fmt: skip
    return types


def create_stage(db: MysqlDb, landing: Landing) -> None:
    """Create the staged generation anew. For replace it is the next table; otherwise rows wait in arrival order."""
    write, stage = landing.write, place(db, landing.stage)
    db.run(f"DROP TABLE IF EXISTS {stage}")
    if write.mode is WriteMode.REPLACE:
        if landing.target is None:
            create_table(db, write, landing.stage)
            return
        db.run(f"CREATE TABLE {stage} LIKE {place(db, write.dataset.name)}")
        alter(db, landing.stage, landing.alterations)
        missing = [write.dataset.schema.field(name) for name in landing.missing]
        add_columns(db, landing.stage, missing, column_types(db, write))
        if landing.rekeyed:
            rekey(db, landing.stage, write)
        return
    own = target(db, write.dataset.name)
    types = _keyed(landing, column_types(db, write) | (dict(own.columns) if own else {}))
    columns = [f"{quoted(n)} {types[n]}" for n in load_columns(landing)]
    keys = f", KEY ({', '.join(quoted(n) for n in write.key)})" if write.key else ""
    db.run(
        f"CREATE TABLE {stage} ({', '.join(columns)}, {quoted(SEQUENCE)} bigint unsigned NOT NULL AUTO_INCREMENT "
        f"PRIMARY KEY{keys}) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
    )


def create_chunk(db: MysqlDb, landing: Landing) -> None:
    """Create this session's temporary table anew, keyed like the target, so that LOAD … REPLACE keeps the last row
    of a key. Neither statement ends the transaction."""
    name, types = quoted(landing.chunk.rpartition(".")[2]), _keyed(landing, landing.types)
    key = landing.write.key
    columns = [f"{quoted(n)} {types[n]}{' NOT NULL' if n in key else ''}" for n in load_columns(landing)]
    db.run(f"DROP TEMPORARY TABLE IF EXISTS {name}")
    db.run(
        f"CREATE TEMPORARY TABLE {name} ({', '.join(columns)}, PRIMARY KEY ({', '.join(quoted(n) for n in key)})) "
        "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
    )
    db.superseded = 0


def swap(db: MysqlDb, landing: Landing) -> None:
    """Make the stage the target in one atomic RENAME; the old table is kept as the previous generation, of which there
    is none yet. Commits."""
    stage, name = place(db, landing.stage), place(db, landing.write.dataset.name)
    if not has_table(db, landing.write.dataset.name):
        db.run(f"RENAME TABLE {stage} TO {name}")
        return
    db.run(f"RENAME TABLE {name} TO {place(db, landing.previous)}, {stage} TO {name}")
