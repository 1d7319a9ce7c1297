"""Writes PostgreSQL: COPY into the target or a staged generation, merged or swapped in the checkpoint's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from tongqu.connectors.postgres import ddl, evicting, generation, merging, undoing
from tongqu.connectors.postgres.db import PgDb, literal, quoted
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.connectors.postgres.types import binary_fit, csv_fit, field_of, native_type, text_fit
from tongqu.core.data import Bytes, Counts, Deletes, Opened, Position, Split, Started, Write, WriteMode, Written
from tongqu.core.errors import ConnectError, PrivilegeError
from tongqu.kit.db import Db
from tongqu.kit.sql.landing import Landing, Target
from tongqu.kit.sql.sink import SqlSink
from tongqu.meaning.settling import Alterations

if TYPE_CHECKING:
    import pyarrow as pa


class PostgresSink(SqlSink):
    """Exactly-once effect: data, quarantine, counts and checkpoint commit in one transaction."""

    columns_fold: ClassVar[bool] = False
    commit_empties: ClassVar[bool] = True
    relaxes = True
    row_id: ClassVar[str] = "ctid"
    row_hole: ClassVar[str] = "?::text::tid"
    formats = ("pgcopy-binary", "pgcopy-text", "csv")

    def __init__(self, settings: PostgresSettings, now: Callable[[], str] | None = None):
        if now is None:
            super().__init__()
        else:
            super().__init__(now)
        self._settings = settings
        self._user_types: dict[str, bool] | None = None
        self._mark = ""

    def check(self) -> Iterator[str]:
        """See Sink.check."""
        yield from self._settings.stages()
        db = self._pg(self.control())
        yield "tls" if db.connection.pgconn.ssl_in_use else "tls: not used"
        yield "login"
        allowed = db.rows("SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE')")[0]
        if allowed[0] is None or not allowed[1]:
            raise PrivilegeError(
                f"the role may not create tables in schema {allowed[0] or '(none)'}",
                path=self._settings.display(),
                hint="GRANT CREATE ON SCHEMA … TO the role; Tongqu keeps its checkpoints there",
            )
        yield "privilege"

    def connect(self) -> PgDb:
        """See SqlSink.connect."""
        made = PgDb(self._settings, "sink")
        made.mark = lambda: self._mark
        return made

    def start(self, sync: str, run: str, restart: bool) -> Started:
        """See Sink.start. From now on its transactions are known by sync, run and attempt."""
        started = super().start(sync, run, restart)
        self._mark = f"{evicting.of(sync)}{started.run[-24:]}.{started.attempt}"
        return started

    def open(self, write: Write) -> Opened:
        """See Sink.open."""
        with self._evicting(write):
            return super().open(write)

    def begin(self, write: Write, splits: Sequence[Split]) -> None:
        """See Sink.begin."""
        with self._evicting(write):
            super().begin(write, splits)

    def reopen(self, write: Write) -> Opened:
        """See Sink.reopen."""
        opened = super().reopen(write)
        self._evict(write)
        return opened

    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """See Sink.finish."""
        with self._evicting(write):
            return super().finish(write, counts, position)

    @contextmanager
    def _evicting(self, write: Write) -> Iterator[None]:
        """Where a lock could not be had, those of our predecessors who sleep on it are gone at the next attempt."""
        try:
            yield
        except ConnectError as error:
            if error.params.get("state") == evicting.LOCKED:
                self._evict(write)
            raise

    def _evict(self, write: Write) -> None:
        if self._mark.startswith(evicting.of(write.sync)):
            with self._lock:
                db = self._pg(self.control())
                db.rollback()  # what could not get its lock was in a transaction, which is over
                evicting.evict(db, write.sync, self._mark, self._settings.lock_seconds)

    @staticmethod
    def _pg(db: Db) -> PgDb:
        assert isinstance(db, PgDb)  # noqa: S101  # this sink makes all its connections itself
        return db

    def identity(self, name: str) -> str:
        """See Sink.identity. Names are cut to 63 bytes, and may have the schema or not."""
        with self._lock:
            db = self._pg(self.control())
            schema, table = ddl.parts(db, name)
            return f"{quoted(schema or str(db.rows('SELECT current_schema()')[0][0]))}.{quoted(table)}"

    # ---- tables

    def has_table(self, db: Db, name: str) -> bool:
        """See SqlSink.has_table."""
        return ddl.exists(self._pg(db), name)

    def target(self, db: Db, name: str) -> Target | None:
        """See SqlSink.target."""
        return ddl.target(self._pg(db), name)

    def column_types(self, db: Db, name: str) -> dict[str, str]:
        """See SqlSink.column_types."""
        return ddl.types(self._pg(db), name)

    def _types(self, db: PgDb) -> dict[str, bool]:
        """User-defined types of this database that a column could have."""
        if self._user_types is None:
            found = db.rows(
                "SELECT pg_catalog.format_type(t.oid, NULL) FROM pg_catalog.pg_type t "
                "JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace "
                "WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND t.typtype IN ('e', 'b', 'r')"
            )
            self._user_types = {str(row[0]): True for row in found}
        return self._user_types

    def create_target(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_target."""
        pg = self._pg(db)
        ddl.create_table(pg, landing.write, landing.write.dataset.name, self._types(pg), key=True)

    def add_columns(self, db: Db, landing: Landing, fields: Sequence[pa.Field[Any]]) -> None:
        """See SqlSink.add_columns."""
        pg = self._pg(db)
        ddl.add_columns(pg, landing.write.dataset.name, fields, self._types(pg))

    def field(self, name: str, native: str) -> pa.Field[Any]:
        """See SqlSystem.field."""
        return field_of(name, native)

    def same_type(self, db: Db, native: str, field: pa.Field[Any]) -> bool:
        """See SqlSystem.same_type."""
        return native_type(field, self._types(self._pg(db))) == native

    def alter(self, db: Db, name: str, alterations: Alterations) -> None:
        """See SqlSystem.alter."""
        pg = self._pg(db)
        ddl.alter(pg, name, alterations, self._types(pg))

    def create_stage(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_stage."""
        pg = self._pg(db)
        self.drop(db, landing.stage)
        if landing.write.mode is WriteMode.HISTORY:
            generation.like_arriving(pg, landing)
            return
        if landing.target is None:
            ddl.create_table(pg, landing.write, landing.stage, self._types(pg), key=False)
            return
        generation.like_target(pg, landing)
        self.alter(db, landing.stage, landing.alterations)
        if landing.missing:
            fields = [landing.write.dataset.schema.field(name) for name in landing.missing]
            ddl.add_columns(pg, landing.stage, fields, self._types(pg))

    def drop(self, db: Db, name: str) -> None:
        """See SqlSink.drop."""
        db.run(f"DROP TABLE IF EXISTS {ddl.place(self._pg(db), name)}")

    def create_chunk(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_chunk."""
        merging.create_chunk(self._pg(db), landing)

    def places(self, db: Db, landing: Landing) -> tuple[str, str, str]:
        """See Quarantining.places."""
        name = landing.write.dataset.name
        own = self._pg(db)
        return ddl.place(own, name), quoted(landing.chunk.rpartition(".")[2]), ddl.place(own, landing.stage)

    # ---- rows

    def accepts(self, write: Write, format: str, types: Sequence[str]) -> Sequence[str | None]:
        """See Sink.accepts."""
        landing = self.landing(write)
        names = write.dataset.columns
        target = landing.target
        computed = (set(target.columns) - set(target.written) if target else set()) | landing.sieving.columns
        wanted = [None if name in computed else landing.types.get(name) for name in names]
        if format == "pgcopy-binary":
            return [binary_fit(s, t) if t else None for s, t in zip(types, wanted, strict=True)]
        fits = {"csv": csv_fit, "pgcopy-text": text_fit}.get(format)
        if fits is None:
            return [None] * len(types)
        return [s if t and fits(s, t) else None for s, t in zip(types, wanted, strict=True)]

    def load(self, db: Db, landing: Landing, rows: pa.Table) -> int:
        """See SqlSink.load."""
        pg = self._pg(db)
        return self._loaded(pg, landing, ddl.load_place(pg, landing), rows)

    def _loaded(self, pg: PgDb, landing: Landing, table: str, rows: pa.Table) -> int:
        from tongqu.connectors.postgres.encode import supports
        from tongqu.connectors.postgres.exact import as_decimals

        rows = self._writable(landing, rows)
        types = [landing.types[name] for name in rows.schema.names]
        rows = as_decimals(rows, types)
        loose = [f.name for f, kind in zip(rows.schema, types, strict=True) if not supports(f.type, kind)]
        if loose:
            return merging.load_loosely(pg, (table, merging.overriding(landing)), rows, types, set(loose))
        return self._copy(pg, table, rows, types)

    def upsert_few(self, db: Db, landing: Landing, rows: pa.Table) -> Written | None:
        """See SqlSystem.upsert_few."""
        from tongqu.connectors.postgres import few

        return few.upserted(self._pg(db), landing, rows) if rows.num_rows <= few.MOST else None

    def remove_few(self, db: Db, landing: Landing, rows: pa.Table) -> int | None:
        """See SqlSystem.remove_few."""
        from tongqu.connectors.postgres import few

        return few.removed(self._pg(db), landing, rows) if rows.num_rows <= few.MOST else None

    def inserts(self, db: Db, landing: Landing) -> bool:
        """See SqlSystem.inserts. COPY does not know rules and row security; without a unique index nothing refuses."""
        pg = self._pg(db)
        if not merging.exact(landing):
            return False
        found = pg.rows(
            "SELECT NOT relhasrules AND NOT relrowsecurity AND relkind IN ('r', 'p') FROM pg_catalog.pg_class "
            "WHERE oid = to_regclass(?)", (ddl.place(pg, landing.write.dataset.name),)
        )  # fmt: skip
        return bool(found and found[0][0])

    def insert(self, db: Db, landing: Landing, rows: pa.Table) -> int:
        """See SqlSystem.insert."""
        return self._loaded(self._pg(db), landing, ddl.place(self._pg(db), landing.write.dataset.name), rows)

    @staticmethod
    def _copy(pg: PgDb, table: str, rows: pa.Table, types: Sequence[str]) -> int:
        from tongqu.connectors.postgres.encode import HEADER, TRAILER, Encoder

        encoder = Encoder(rows.schema, types)

        def blocks() -> Iterator[bytes | memoryview]:
            yield HEADER
            for batch in rows.to_batches():
                yield from encoder.chunks(batch)
            yield TRAILER

        names = ", ".join(quoted(name) for name in rows.schema.names)
        return pg.copy_in(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)", blocks())

    @staticmethod
    def _writable(landing: Landing, rows: pa.Table) -> pa.Table:
        """Without columns that the target computes itself."""
        target = landing.target
        if target is None:
            return rows
        computed = [n for n in rows.schema.names if n in target.columns and n not in target.written]
        return rows.drop_columns(computed) if computed else rows

    def copy_bytes(self, db: Db, landing: Landing, data: Bytes) -> int:
        """See SqlSink.copy_bytes."""
        pg = self._pg(db)
        names = ", ".join(quoted(name) for name in data.columns)
        forms = {"pgcopy-binary": "FORMAT BINARY", "pgcopy-text": "FORMAT TEXT"}
        options = forms.get(data.format) or merging.csv_options(data.options)
        loaded = pg.copy_in(f"COPY {ddl.load_place(pg, landing)} ({names}) FROM STDIN ({options})", data.chunks)
        if landing.merges or landing.staged:
            merging.refuse_null_keys(pg, landing, after_bytes=True)
        return loaded

    def merge(self, db: Db, landing: Landing, source: str) -> Written:
        """See SqlSink.merge."""
        return merging.merge(self._pg(db), landing, source)

    def append_stage(self, db: Db, landing: Landing) -> int:
        """See SqlSink.append_stage."""
        pg = self._pg(db)
        names = ", ".join(quoted(name) for name in merging.load_columns(landing))
        return db.run(
            f"INSERT INTO {ddl.place(pg, landing.write.dataset.name)} ({names}) "
            f"{merging.overriding(landing)}SELECT {names} FROM {ddl.place(pg, landing.stage)}"
        )

    def publish(self, db: Db, landing: Landing) -> Written | None:
        """See SqlSink.publish."""
        return generation.publish(self._pg(db), landing)

    def put_back(self, db: Db, name: str) -> int:
        """See SqlSink.put_back."""
        return undoing.put_back(self._pg(db), name)

    def instant(self, started_at: str) -> str:
        """See SqlSystem.instant."""
        return f"{literal(started_at)}::timestamptz" if started_at else "now()"

    def relate(self, db: Db, streams: Sequence[Write]) -> None:
        """See SqlSink.relate."""
        pg = self._pg(db)
        for write in reversed(streams):
            landing = self.landing(write)
            if landing.target is not None and write.deletes is not Deletes.SOFT:
                key = write.key or landing.target.key
                merging.delete_deferred(pg, generation.as_full_upsert(landing, key))
        ddl.relate(pg, streams)
