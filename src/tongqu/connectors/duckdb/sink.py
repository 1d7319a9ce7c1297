"""Writes a DuckDB file: Arrow goes straight in, data and checkpoint in one transaction, generations are swapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.connectors.duckdb import catalog, ddl, generations, loading, parquet
from tongqu.connectors.duckdb.db import DuckDb, literal, open_sink, parts, place, quoted
from tongqu.connectors.duckdb.settings import DuckdbSettings
from tongqu.connectors.duckdb.types import declaration, field_of, same_type
from tongqu.core.data import BadRow, Bytes, Deletes, Split, Write, WriteMode, Written
from tongqu.core.errors import ConnectorError, DataError, RefusedRowsError, SchemaError
from tongqu.kit.db import Db
from tongqu.kit.local_path import absolute, sink_folder
from tongqu.kit.originals import originals
from tongqu.kit.sql.landing import Landing, Target
from tongqu.kit.sql.merging import CURRENT, DELETED_AT, OURS, VALID_FROM, VALID_TO, Merging
from tongqu.kit.sql.one_writer import OneWriter, Turn
from tongqu.kit.sql.renaming import renamed_in
from tongqu.kit.sql.session import SqlSession
from tongqu.kit.sql.sink import SqlSink
from tongqu.kit.undoing import nothing_kept
from tongqu.meaning.settling import Alterations


def _differs(left: str, right: str) -> str:
    return f"{left} IS DISTINCT FROM {right}"


class DuckdbSink(SqlSink):
    """Writes one DuckDB file. All sessions share one connection and take turns; no other process can open the file."""

    parallel = False
    row_id: ClassVar[str] = "rowid"
    formats = (parquet.FORMAT,)

    def __init__(self, settings: DuckdbSettings):
        super().__init__()
        self._settings = settings
        self._loadings: dict[str, tuple[int, pa.Schema, loading.Loading]] = {}
        self._files = readable = set[str]()
        self._writer = OneWriter(lambda: open_sink(settings, sorted(readable)))

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
                db.run("CREATE TABLE _tongqu_check (x INTEGER)")
            finally:
                db.rollback()
        yield "privilege"

    def exists(self) -> bool:
        """See Quarantining.exists."""
        return Path(absolute(self._settings.path)).exists()

    def identity(self, name: str) -> str:
        """See Sink.identity. DuckDB does not tell letter case apart."""
        return place(name).lower()

    # ---- tables

    def target(self, db: Db, name: str) -> Target | None:
        """See SqlSink.target. A table that others refer to by foreign keys keeps its identity; views do not mind."""
        table = catalog.relation(_duck(db), name)
        if table is None:
            return None
        if table.kind == "view":
            raise SchemaError(f"{name!r} is a view", hint="write into a table")
        required = tuple(
            column.name
            for column in table.columns
            if column.required and column.default is None and column.name not in OURS and not column.generated
        )
        return Target(
            columns={column.name: column.type for column in table.columns},
            key=table.primary,
            unique=_unique(table),
            written=tuple(column.name for column in table.columns if not column.generated),
            required=required,
            pinned=tuple(f"foreign key of {other}" for other in catalog.referring(_duck(db), table)),
        )

    def has_table(self, db: Db, name: str) -> bool:
        """See SqlSink.has_table."""
        schema, table = parts(name)
        found = db.rows(
            "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ? "
            "AND database_name = current_database()",
            (schema, table),
        )
        return bool(found)

    def create_target(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_target."""
        for statement in [
            *ddl.create(landing.write, landing.write.dataset.name, keyed=True),
            *ddl.indexes(landing.write),
        ]:
            db.run(statement)

    def add_columns(self, db: Db, landing: Landing, fields: Sequence[Any]) -> None:
        """See SqlSink.add_columns. DuckDB cannot alter a table that has indexes: they are built anew."""
        self._alter(db, landing.write.dataset.name, [ddl.add_column(landing.write.dataset.name, f) for f in fields])

    def field(self, name: str, native: str) -> pa.Field[Any]:
        """See SqlSystem.field."""
        return field_of(name, native)

    def same_type(self, db: Db, native: str, field: pa.Field[Any]) -> bool:
        """See SqlSystem.same_type."""
        del db
        return same_type(native, declaration(field))

    def alter(self, db: Db, name: str, alterations: Alterations) -> None:
        """See SqlSystem.alter. DuckDB changes no column of a key, and no table that foreign keys refer to."""
        if not alterations:
            return
        statements = ddl.alter(name, alterations)
        try:
            self._alter(db, name, statements, alterations.renames)
        except ConnectorError as error:
            raise SchemaError(
                f"{name!r} cannot follow its source: {error.message}",
                path=name,
                hint="load it anew with write mode replace, or drop what holds the column; then: "
                + "; ".join(statements),
            ) from error

    def _alter(self, db: Db, name: str, statements: Sequence[str], renames: Mapping[str, str] | None = None) -> None:
        table = catalog.need(_duck(db), name)
        generations.drop_indexes(db, table)
        for statement in statements:
            db.run(statement)
        for index in table.indexes:
            db.run(renamed_in(index.definition, renames or {}))

    def create_stage(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_stage. Keys and indexes are built when it is published: that is faster."""
        self.drop(db, landing.stage)
        write = landing.write
        table = catalog.relation(_duck(db), write.dataset.name)
        if write.mode is not WriteMode.REPLACE:
            columns = [(field.name, _type(table, field)) for field in write.dataset.schema]
            db.run(ddl.create_plain(columns, place(landing.stage)))
            return
        if table is None:
            statements = ddl.create(write, landing.stage, keyed=False)
        else:
            statements = ddl.create_like(table, landing.stage) + ddl.alter(landing.stage, landing.alterations)
            added = [write.dataset.schema.field(name) for name in landing.missing]
            statements += [ddl.add_column(landing.stage, field) for field in added]
        for statement in statements:
            db.run(statement)

    def drop(self, db: Db, name: str) -> None:
        """See SqlSink.drop."""
        db.run(f"DROP TABLE IF EXISTS {place(name)}")

    def create_chunk(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_chunk."""
        table = catalog.need(_duck(db), landing.write.dataset.name)
        self._needs_history(table, landing)
        db.run(f"DROP TABLE IF EXISTS {_temporary(landing.chunk)}")
        columns = [(field.name, _type(table, field)) for field in landing.write.dataset.schema]
        db.run(ddl.create_plain(columns, _temporary(landing.chunk)))

    def _needs_history(self, table: catalog.Relation, landing: Landing) -> None:
        missing = {VALID_FROM, VALID_TO, CURRENT} - {column.name for column in table.columns}
        if landing.write.mode is WriteMode.HISTORY and missing:
            raise SchemaError(
                f"the target {table.name!r} keeps no history: it has no {', '.join(sorted(missing))}",
                path=landing.write.stream,
                hint="write into a new table, or use upsert",
            )

    def picked(self, db: Db, query: str, names: Sequence[str]) -> list[tuple[Any, str]]:
        """See Quarantining.picked: through Arrow, which has every type."""
        del names
        table = _duck(db).sql(query).to_arrow_table()
        return list(zip(table.column(0).to_pylist(), originals(table.remove_column(0)), strict=True))

    def places(self, db: Db, landing: Landing) -> tuple[str, str, str]:
        """See Quarantining.places."""
        del db
        return place(landing.write.dataset.name), _temporary(landing.chunk), place(landing.stage)

    # ---- rows

    def sift(self, db: Db, landing: Landing, rows: pa.Table) -> tuple[pa.Table, list[BadRow]]:
        """See SqlSink.sift."""
        return loading.sift(_duck(db), self._loading(db, landing, rows.schema), rows)

    def load(self, db: Db, landing: Landing, rows: pa.Table) -> int:
        """See SqlSink.load."""
        into = _temporary(landing.chunk) if landing.merges else place(landing.into)
        return loading.load(_duck(db), into, self._loading(db, landing, rows.schema), rows)

    def accepts(self, write: Write, format: str, types: Sequence[str]) -> Sequence[str | None]:
        """See Sink.accepts. Rows that need no conversion go into a generation or a table without unique values."""
        nothing: list[str | None] = [None] * len(types)
        with self._lock:
            db, landing = self.control(), self.landing(write)
            if format != parquet.FORMAT or landing.merges:
                return nothing
            if not landing.staged and _unique(catalog.need(_duck(db), landing.into)):
                return nothing
            plain = self._loading(db, landing, write.dataset.schema).plain
        fields = zip(write.dataset.schema, types, strict=True)
        return [kind if field.name in plain and kind == str(field.type) else None for field, kind in fields]

    def session(self, write: Write, split: Split) -> SqlSession:
        """See Sink.session."""
        return parquet.ParquetSession(self, self.landing(write), split)

    def admit(self, files: Sequence[str]) -> None:
        """Let DuckDB read these files from now on: the database is opened anew unless it may already. Raises
        RefusedRowsError if somebody else of this process uses it."""
        if self._files.issuperset(files):
            return
        self._writer.take()
        try:
            if not self._writer.db().alone:
                raise RefusedRowsError("the DuckDB file is being read, and cannot be opened anew to load a file")
            self._files.update(files)
            self._writer.close()
            self._writer.db()
        finally:
            self._writer.give()

    def copy_bytes(self, db: Db, landing: Landing, data: Bytes) -> int:
        """See SqlSink.copy_bytes."""
        key = [name for name in landing.write.key if landing.write.dataset.nullable(name)]
        return parquet.load(_duck(db), place(landing.into), data, landing.types, key)

    def _loading(self, db: Db, landing: Landing, schema: pa.Schema) -> loading.Loading:
        """How rows of this schema are loaded, worked out once per opened stream. The target's own rules hold for
        chunks and stages that will be merged into it."""
        known = self._loadings.get(landing.write.stream)
        if known is not None and known[0] == landing.fence and known[1].equals(schema, check_metadata=True):
            return known[2]
        swapped = landing.staged and landing.write.mode is WriteMode.REPLACE
        table = catalog.need(_duck(db), landing.stage if swapped else landing.write.dataset.name)
        direct = not landing.merges and not landing.staged
        found = loading.plan(schema, table, _unique(table) if direct else ())
        self._loadings[landing.write.stream] = (landing.fence, schema, found)
        return found

    def merge(self, db: Db, landing: Landing, source: str) -> Written:
        """See SqlSink.merge."""
        table = catalog.need(_duck(db), landing.write.dataset.name)
        self._needs_history(table, landing)
        write = landing.write
        soft = any(column.name == DELETED_AT for column in table.columns) and write.mode is not WriteMode.HISTORY
        if write.deletes is Deletes.SOFT and not soft and write.mode is not WriteMode.HISTORY:
            column = f"ADD COLUMN {quoted(DELETED_AT)} TIMESTAMPTZ"
            self._alter(db, table.name, [f"ALTER TABLE {place(table.name)} {column}"])
            soft = True
        return self._merging(db, landing, table, source, soft).merge(landing)

    def _merging(self, db: Db, landing: Landing, table: catalog.Relation, source: str, soft: bool) -> Merging:
        write = landing.write
        own = {column.name for column in table.columns if not column.generated}
        columns = tuple(name for name in write.dataset.schema.names if name in own)
        at = self.instant(write.started_at)
        rows = place(source) if landing.staged else _temporary(source)
        return Merging(db, place(table.name), rows, write.key, columns, at, soft, _differs)

    def instant(self, started_at: str) -> str:
        """See SqlSystem.instant."""
        when = datetime.fromisoformat(started_at or self.now()).astimezone(UTC)
        return f"TIMESTAMPTZ {literal(when.isoformat(sep=' '))}"

    def append_stage(self, db: Db, landing: Landing) -> int:
        """See SqlSink.append_stage."""
        target = self.target(db, landing.write.dataset.name)
        own = target.written if target else ()
        names = ", ".join(quoted(name) for name in landing.write.dataset.schema.names if name in own)
        return db.run(
            f"INSERT INTO {place(landing.write.dataset.name)} ({names}) SELECT {names} FROM {place(landing.stage)}"
        )

    # ---- generations

    def publish(self, db: Db, landing: Landing) -> Written | None:
        """See SqlSink.publish. A table that foreign keys refer to is made equal to the generation by its key, row by
        row; every other one is swapped by renaming, in the same transaction as the checkpoint."""
        name = landing.write.dataset.name
        table = catalog.relation(_duck(db), name)
        if table is not None and catalog.referring(_duck(db), table):
            return self._refill(db, landing, table)
        try:
            if table is None:
                generations.rename(db, landing.stage, name)
                key = ddl.key_of(landing.write)
                named = ", ".join(quoted(column) for column in key)
                after = [f"ALTER TABLE {place(name)} ADD PRIMARY KEY ({named})"] if key else []
                after += ddl.indexes(landing.write)
            else:
                self.drop(db, landing.previous)
                generations.drop_indexes(db, table)
                generations.rename(db, name, landing.previous)
                generations.rename(db, landing.stage, name)
                renames = landing.alterations.renames
                after = ddl.keys_like(table, name, landing)
                after += [renamed_in(index.definition, renames) for index in table.indexes]
            for statement in after:
                db.run(statement)
        except RefusedRowsError as error:
            raise DataError(
                f"the rows for {name!r} repeat a value that must be unique: {error.message}",
                path=landing.write.stream,
                hint="deduplicate them in a step, or choose another key",
            ) from error
        return None

    def _refill(self, db: Db, landing: Landing, table: catalog.Relation) -> Written:
        write = replace(landing.write, key=table.key, deletes=Deletes.HARD, unique=False)
        exact = replace(landing, write=write)
        self.drop(db, landing.previous)
        generations.copy_rows(db, table.name, landing.previous)
        self.alter(db, table.name, landing.alterations)
        self.add_columns(db, landing, [write.dataset.schema.field(name) for name in landing.missing])
        table = catalog.need(_duck(db), table.name)
        written = self._merging(db, exact, table, landing.stage, False).merge(exact)
        self.drop(db, landing.stage)
        return written

    def put_back(self, db: Db, name: str) -> int:
        """See SqlSink.put_back."""
        return generations.put_back(db, _duck(db), name, _differs)

    def undo(self, dataset: str) -> int:
        """See Sink.undo. A missing file is not created."""
        if not self.exists():
            raise nothing_kept(dataset)
        return super().undo(dataset)

    def close(self) -> None:
        """See Sink.close."""
        super().close()
        self._writer.close()


def _duck(db: Db) -> DuckDb:
    assert isinstance(db, Turn), "the sink's connections are views of one"  # noqa: S101
    shared = db.shared
    assert isinstance(shared, DuckDb), "the sink's connection is DuckDB's"  # noqa: S101
    return shared


def _temporary(name: str) -> str:
    return f"temp.main.{quoted(name.rpartition('.')[2])}"


def _unique(table: catalog.Relation) -> tuple[tuple[str, ...], ...]:
    indexes = (index.columns for index in table.indexes if index.unique and index.columns)
    return tuple(names for names in (table.primary, *table.unique, *indexes) if names)


def _type(table: catalog.Relation | None, field: Any) -> str:
    """The type that arriving values are stored as: the target's, else a new one."""
    known = {column.name: column.type for column in table.columns} if table else {}
    return known.get(field.name, declaration(field))
