"""Writes a SQLite file: one connection, data and checkpoint in one transaction, generations swapped by renaming."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.connectors.sqlite import catalog, ddl, generations
from tongqu.connectors.sqlite.db import open_sink
from tongqu.connectors.sqlite.encode import encode
from tongqu.connectors.sqlite.settings import SqliteSettings
from tongqu.connectors.sqlite.types import declaration, field_of
from tongqu.core.data import Deletes, WriteMode, Written
from tongqu.core.errors import SchemaError
from tongqu.kit.db import Db
from tongqu.kit.local_path import absolute, sink_folder
from tongqu.kit.sql.landing import Landing, Target, previous_name
from tongqu.kit.sql.merging import CURRENT, DELETED_AT, OURS, VALID_FROM, VALID_TO, Merging
from tongqu.kit.sql.one_writer import OneWriter, Turn
from tongqu.kit.sql.sink import SqlSink
from tongqu.kit.sqlite import SqliteDb, quoted, text_literal
from tongqu.kit.undoing import nothing_kept
from tongqu.meaning.settling import Alterations

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def _differs(left: str, right: str) -> str:
    return f"{left} COLLATE BINARY IS NOT {right}"


class SqliteSink(SqlSink):
    """Writes one SQLite file. All sessions share one connection and take turns, since SQLite has one writer.

    Rows are bound as column lists (`executemany`): the driver knows no columnar way in.
    """

    parallel = False
    row_id: ClassVar[str] = "rowid"

    def __init__(self, settings: SqliteSettings):
        super().__init__()
        self._settings = settings
        self._writer = OneWriter(lambda: open_sink(settings))

    def connect(self) -> Db:
        """See SqlSink.connect."""
        return self._writer.view()

    def check(self) -> Iterator[str]:
        """See Sink.check. A missing file is not created: only its folder is looked at."""
        sink_folder(self._settings.path)
        yield "folder"
        if self.exists():
            db = self.connect()
            db.begin()
            yield "file"
            try:
                db.run("CREATE TABLE _tongqu_check (x)")
            finally:
                db.rollback()
        yield "privilege"

    def exists(self) -> bool:
        """See Quarantining.exists."""
        return Path(absolute(self._settings.path)).exists()

    def identity(self, name: str) -> str:
        """See Sink.identity. SQLite does not tell the case of ASCII letters apart."""
        return name.translate(_LOWER)

    # ---- tables

    def target(self, db: Db, name: str) -> Target | None:
        """See SqlSink.target. Nothing pins a table: views, triggers and foreign keys refer to it by name."""
        table = catalog.relation(_sqlite(db), name, infer=False)
        if table is None:
            return None
        if table.kind == "view":
            raise SchemaError(f"{name!r} is a view", hint="write into a table")
        required = tuple(
            column.name
            for column in table.columns
            if column.required and column.default is None and column.name not in OURS and column.name != table.alias
            and not column.generated
        )  # fmt: skip
        unique = tuple(
            tuple(column for column in index.columns if column)
            for index in table.indexes
            if index.unique and index.plain
        )
        return Target(
            columns={column.name: column.declared for column in table.columns},
            key=table.primary,
            unique=unique,
            written=tuple(column.name for column in table.columns if not column.generated),
            required=required,
        )

    def has_table(self, db: Db, name: str) -> bool:
        """See SqlSink.has_table."""
        return bool(db.rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE", (name,)))

    def create_target(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_target."""
        for statement in ddl.create(landing.write, landing.write.dataset.name):
            db.run(statement)
        self._create_indexes(db, landing)

    def add_columns(self, db: Db, landing: Landing, fields: Sequence[Any]) -> None:
        """See SqlSink.add_columns."""
        self._add(db, landing.write.dataset.name, fields)

    def _add(self, db: Db, table: str, fields: Sequence[Any]) -> None:
        for field in fields:
            db.run(f"ALTER TABLE {quoted(table)} ADD COLUMN {quoted(field.name)} {declaration(field)}")

    def field(self, name: str, native: str) -> pa.Field[Any]:
        """See SqlSystem.field."""
        return field_of(name, native)

    def same_type(self, db: Db, native: str, field: pa.Field[Any]) -> bool:
        """See SqlSystem.same_type."""
        del db
        return native.upper() == declaration(field).upper()

    def alter(self, db: Db, name: str, alterations: Alterations) -> None:
        """See SqlSystem.alter."""
        ddl.alter(db, name, alterations)

    def create_stage(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_stage. A generation that will be swapped has its key from the first row on."""
        self.drop(db, landing.stage)
        write = landing.write
        table = catalog.relation(_sqlite(db), write.dataset.name, infer=False)
        if write.mode is not WriteMode.REPLACE:
            columns = [(field.name, _type(table, field)) for field in write.dataset.schema]
            db.run(ddl.create_plain(columns, landing.stage, temporary=False))
        elif table is None:
            for statement in ddl.create(write, landing.stage):
                db.run(statement)
        elif landing.rekeyed:
            for statement in ddl.create_rekeyed(write, table, landing.stage):
                db.run(statement)
        else:
            db.run(ddl.create_like(table, landing.stage))
            self.alter(db, landing.stage, landing.alterations)
            self._add(db, landing.stage, [write.dataset.schema.field(name) for name in landing.missing])

    def drop(self, db: Db, name: str) -> None:
        """See SqlSink.drop."""
        db.run(f"DROP TABLE IF EXISTS {quoted(name)}")

    def create_chunk(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_chunk."""
        write = landing.write
        table = catalog.need(_sqlite(db), write.dataset.name)
        self._needs_key(table, landing)
        db.run(f"DROP TABLE IF EXISTS temp.{quoted(landing.chunk)}")
        columns = [(field.name, _type(table, field)) for field in write.dataset.schema]
        db.run(ddl.create_plain(columns, landing.chunk, temporary=True))

    def _needs_key(self, table: catalog.Relation, landing: Landing) -> None:
        write = landing.write
        wanted = set(write.key)
        keys = [set(table.primary), *(set(index.columns) for index in table.indexes if index.unique and index.plain)]
        if write.mode is WriteMode.UPSERT and wanted not in keys:
            raise SchemaError(
                f"the target {table.name!r} has no unique key on {', '.join(write.key)}",
                path=write.stream,
                hint=f"CREATE UNIQUE INDEX … ON {quoted(table.name)} ({', '.join(quoted(k) for k in write.key)})",
            )
        missing = {VALID_FROM, VALID_TO, CURRENT} - {column.name for column in table.columns}
        if write.mode is WriteMode.HISTORY and missing:
            raise SchemaError(
                f"the target {table.name!r} keeps no history: it has no {', '.join(sorted(missing))}",
                path=write.stream,
                hint="write into a new table, or use upsert",
            )

    def places(self, db: Db, landing: Landing) -> tuple[str, str, str]:
        """See Quarantining.places."""
        del db
        return f"main.{quoted(landing.write.dataset.name)}", f"temp.{quoted(landing.chunk)}", quoted(landing.stage)

    # ---- rows

    def load(self, db: Db, landing: Landing, rows: pa.Table) -> int:
        """See SqlSink.load."""
        found = self._loading(db, landing)
        names = [name for name in rows.column_names if name in found]
        values = [encode(rows.column(name), found[name], name) for name in names]
        columns = ", ".join(quoted(name) for name in names)
        holes = ", ".join("?" * len(names))
        _sqlite(db).bulk(f"INSERT INTO {quoted(landing.into)} ({columns}) VALUES ({holes})", zip(*values, strict=True))
        return rows.num_rows

    def _loading(self, db: Db, landing: Landing) -> dict[str, str]:
        """Declared types of the columns that take values, in the table that is loaded."""
        if landing.merges:
            found = db.rows(f"PRAGMA temp.table_xinfo({text_literal(landing.chunk)})")
        else:
            found = db.rows(f"PRAGMA main.table_xinfo({text_literal(landing.into)})")
        return {str(name): str(declared) for _, name, declared, _, _, _, hidden in found if hidden == 0}

    def merge(self, db: Db, landing: Landing, source: str) -> Written:
        """See SqlSink.merge."""
        write = landing.write
        table = catalog.need(_sqlite(db), write.dataset.name)
        self._needs_key(table, landing)
        own = {column.name for column in table.columns if not column.generated}
        soft = DELETED_AT in own and write.mode is not WriteMode.HISTORY
        if write.deletes is Deletes.SOFT and not soft and write.mode is not WriteMode.HISTORY:
            db.run(f"ALTER TABLE {quoted(table.name)} ADD COLUMN {quoted(DELETED_AT)} TIMESTAMPTZ")
            soft = True
        place = f"main.{quoted(source)}" if landing.staged else f"temp.{quoted(source)}"
        columns = tuple(name for name in write.dataset.schema.names if name in own)
        if landing.staged:
            keys = ", ".join(quoted(name) for name in write.key)
            db.run(f"CREATE INDEX IF NOT EXISTS {quoted(source + '_key')} ON {quoted(source)} ({keys})")
        at = self.instant(write.started_at)
        target = f"main.{quoted(table.name)}"
        return Merging(db, target, place, write.key, columns, at, soft, _differs).merge(landing)

    def instant(self, started_at: str) -> str:
        """See SqlSystem.instant."""
        when = datetime.fromisoformat(started_at or self.now()).astimezone(UTC)
        return text_literal(when.strftime("%Y-%m-%d %H:%M:%S.%fZ"))

    def append_stage(self, db: Db, landing: Landing) -> int:
        """See SqlSink.append_stage."""
        target = self.target(db, landing.write.dataset.name)
        own = target.written if target else ()
        names = ", ".join(quoted(name) for name in landing.write.dataset.schema.names if name in own)
        stage = quoted(landing.stage)
        table = quoted(landing.write.dataset.name)
        return db.run(f"INSERT INTO {table} ({names}) SELECT {names} FROM {stage} ORDER BY rowid")

    # ---- generations

    def publish(self, db: Db, landing: Landing) -> None:
        """See SqlSink.publish. The renames, and the indexes and triggers moved to the new generation, are one
        transaction; views and foreign keys of other tables refer to the name and go on working."""
        generations.swap(db, landing.write.dataset.name, landing.stage, landing.alterations.renames)
        if landing.target is None:
            self._create_indexes(db, landing)

    def put_back(self, db: Db, name: str) -> int:
        """See SqlSink.put_back."""
        aside = f"{previous_name(name)}_back"
        db.run(f"ALTER TABLE {quoted(previous_name(name))} RENAME TO {quoted(aside)}")
        generations.swap(db, name, aside)
        return int(db.rows(f"SELECT count(*) FROM {quoted(name)}")[0][0])

    def undo(self, dataset: str) -> int:
        """See Sink.undo. A missing file is not created."""
        if not self.exists():
            raise nothing_kept(dataset)
        return super().undo(dataset)

    def _create_indexes(self, db: Db, landing: Landing) -> None:
        write = landing.write
        if not write.indexes:
            return
        for index in write.dataset.indexes:
            if set(index.columns) <= set(write.dataset.schema.names) and index.columns != write.key:
                unique = "UNIQUE " if index.unique and write.mode is not WriteMode.HISTORY else ""
                name = quoted(f"{write.dataset.name}_{'_'.join(index.columns)}_idx")
                columns = ", ".join(quoted(column) for column in index.columns)
                db.run(f"CREATE {unique}INDEX IF NOT EXISTS {name} ON {quoted(write.dataset.name)} ({columns})")

    def close(self) -> None:
        """See Sink.close."""
        super().close()
        self._writer.close()


def _sqlite(db: Db) -> SqliteDb:
    assert isinstance(db, Turn), "the sink's connections are views of one"  # noqa: S101
    shared = db.shared
    assert isinstance(shared, SqliteDb), "the sink's connection is SQLite's"  # noqa: S101
    return shared


def _type(table: catalog.Relation | None, field: Any) -> str:
    """The declared type that arriving values are stored as: the target's, else a new one."""
    known = {column.name: column.declared for column in table.columns} if table else {}
    return known.get(field.name, declaration(field))
