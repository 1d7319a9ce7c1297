"""Writes any SQL system that `kit.tables` has words for: staged generations, merges by key, one transaction a chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from tongqu.core.data import Deletes, WriteMode, Written
from tongqu.core.errors import (
    ConnectorError,
    DataError,
    InvalidPlanError,
    PrivilegeError,
    RefusedRowsError,
    SchemaError,
)
from tongqu.kit.db import Db
from tongqu.kit.ledger import PREFIX
from tongqu.kit.sql.landing import Landing, Target
from tongqu.kit.sql.merging import CURRENT, DELETED_AT
from tongqu.kit.sql.sink import SqlSink
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.ddl import Tables
from tongqu.kit.tables.dialect import SEQUENCE
from tongqu.kit.tables.merging import Merge
from tongqu.kit.tables.native import Native
from tongqu.kit.tables.retiring import deleted, keep_matched, outdated, taken_out, update_from
from tongqu.kit.tables.system import Reach
from tongqu.kit.tables.values import encodable, fit, only_finite, without_empty, without_nul
from tongqu.meaning.settling import Alterations


class TableSink(SqlSink):
    """Exactly-once effect: data, quarantine, counts and checkpoint commit in one transaction of the target.

    Where a system exchanges tables by renames in a transaction, `replace` does; elsewhere the rows of the visible
    table are exchanged in one transaction, so that readers see the old ones or the new ones.
    """

    def __init__(self, reach: Reach, now: Callable[[], str] | None = None):
        super().__init__() if now is None else super().__init__(now)
        self.reach = reach
        self._known = False

    def connect(self) -> TableDb:
        """See SqlSystem.connect."""
        db = self.reach.connect(reading=False)
        if not self._known:
            try:
                self.reach.writable(db)
            except InvalidPlanError:
                db.close()
                raise
            self.ddl_commits = db.dialect.ddl_commits  # type: ignore[misc]  # known once the server is
            self.columns_fold = db.dialect.columns_fold  # type: ignore[misc]  # as above
            self._known = True
        return db

    def check(self) -> Iterator[str]:
        """See Sink.check."""
        yield from self.reach.stages()
        db = self._own(self.control())
        yield from self.reach.secured(db)
        yield "login"
        tables = self._tables(db)
        probe = tables.place(f"{PREFIX}check")
        try:
            db.say(db.dialect.drop(probe))
            db.say([db.dialect.create(probe, [f"a {db.dialect.ledger_types['long']}"])])
            db.say(db.dialect.drop(probe))
            db.commit()
        except ConnectorError as error:
            db.rollback()
            if isinstance(error, PrivilegeError):
                hint = "grant CREATE TABLE, and SELECT, INSERT, UPDATE, DELETE on what is written"
                raise PrivilegeError(error.message, path=db.where, hint=hint) from None
            raise
        yield "privilege"

    @staticmethod
    def _own(db: Db) -> TableDb:
        assert isinstance(db, TableDb)  # noqa: S101  # this sink makes all its connections itself
        return db

    def _tables(self, db: Db) -> Tables:
        own = self._own(db)
        return Tables(own, self.reach.catalogue(own))

    def identity(self, name: str) -> str:
        """See Sink.identity."""
        with self._lock:
            db = self._own(self.control())
            schema, table = self.reach.catalogue(db).place(name)
            db.rollback()
        return f"{schema}.{table}"

    def ledger_schema(self, db: Db) -> str:
        """See SqlSystem.ledger_schema."""
        own = self._own(db)
        schema = self.reach.catalogue(own).schema
        return f"{own.quote(schema)}." if schema else ""

    # ---- tables

    def has_table(self, db: Db, name: str) -> bool:
        """See SqlSystem.has_table."""
        return self.reach.catalogue(self._own(db)).exists(name)

    def target(self, db: Db, name: str) -> Target | None:
        """See SqlSystem.target."""
        return self._tables(db).target(name)

    def create_target(self, db: Db, landing: Landing) -> None:
        """See SqlSystem.create_target."""
        self._tables(db).create_target(landing, landing.write.dataset.name)

    def add_columns(self, db: Db, landing: Landing, fields: Sequence[pa.Field[Any]]) -> None:
        """See SqlSystem.add_columns."""
        self._tables(db).add_columns(landing, landing.write.dataset.name, fields)

    def _prepare_target(self, db: Db, landing: Landing) -> None:
        super()._prepare_target(db, landing)
        own = self._own(db)
        tables = self._tables(own)
        tables.add_technical(landing)
        if landing.merges:
            own.say(own.dialect.prepare_chunk(self._chunk(own, landing), self._chunk_query(own, landing)))

    def field(self, name: str, native: str) -> pa.Field[Any]:
        """See SqlSystem.field."""
        return self._own(self.control()).dialect.field(name, native)

    def same_type(self, db: Db, native: str, field: pa.Field[Any]) -> bool:
        """See SqlSystem.same_type."""
        dialect = self._own(db).dialect
        return any(dialect.same_type(native, dialect.column_type(field, key=key)) for key in (False, True))

    def alter(self, db: Db, name: str, alterations: Alterations) -> None:
        """See SqlSystem.alter."""
        self._tables(db).alter(name, alterations)

    def create_stage(self, db: Db, landing: Landing) -> None:
        """See SqlSystem.create_stage."""
        self._tables(db).create_stage(landing)

    def drop(self, db: Db, name: str) -> None:
        """See SqlSystem.drop."""
        own = self._own(db)
        own.say(own.dialect.drop(self._tables(own).place(name)))

    def create_chunk(self, db: Db, landing: Landing) -> None:
        """See SqlSystem.create_chunk."""
        own = self._own(db)
        own.say(own.dialect.create_chunk(self._chunk(own, landing), self._chunk_query(own, landing)))

    def _chunk(self, db: TableDb, landing: Landing) -> str:
        schema = self.reach.catalogue(db).schema
        return db.dialect.chunk(schema, landing.chunk.rpartition(".")[2])

    def _chunk_query(self, db: TableDb, landing: Landing) -> str:
        tables = self._tables(db)
        columns = ", ".join(map(db.quote, tables.loaded(landing)))
        return f"SELECT {columns} FROM {tables.place(landing.write.dataset.name)}"

    def places(self, db: Db, landing: Landing) -> tuple[str, str, str]:
        """See Quarantining.places."""
        own = self._own(db)
        tables = self._tables(own)
        return tables.place(landing.write.dataset.name), self._chunk(own, landing), tables.place(landing.stage)

    # ---- rows

    def load(self, db: Db, landing: Landing, rows: pa.Table) -> int:
        """See SqlSystem.load. Of several rows of a chunk with one key only the last is loaded where they are merged;
        `merge` counts the others."""
        own = self._own(db)
        names = [name for name in self._tables(own).loaded(landing) if name in rows.schema.names]
        rows = rows.select(names)
        if landing.merges:
            rows, own.superseded = last_of_each(rows, landing.write.key)
        types = landing.types
        fields = [own.dialect.field(name, types[name]) for name in names]
        zoneless = own.dialect.zoneless
        arrays = [fit(rows.column(f.name), f.type, f.name, zoneless=zoneless) for f in fields]
        self._checked(own, arrays, [(name, types[name]) for name in names])
        if own.dialect.empty and landing.merges:  # an empty key would be null there, and match no row ever
            keys = [at for at, name in enumerate(names) if name in landing.write.key]
            without_empty([arrays[at] for at in keys], [names[at] for at in keys])
        holes = [own.dialect.hole(Native.parse(types[name])) for name in names]
        if landing.staged and landing.write.mode is not WriteMode.REPLACE:
            names, holes = [*names, SEQUENCE], [*holes, "?"]
            arrays.append(pa.array(own.sequence(rows.num_rows), pa.int64()))
        into = self._into(own, landing)
        if own.able_in_bulk and 0 < self.reach.bulk_rows <= rows.num_rows and SEQUENCE not in names:
            made = pa.table(arrays, schema=pa.schema([(f.name, f.type) for f in fields]))
            self._load_in_bulk(own, landing, into, made)
            return rows.num_rows
        with self._inserting(own, landing, into if not landing.merges else ""):
            own.fill(into, list(map(own.quote, names)), holes, arrays)
        return rows.num_rows

    def _load_in_bulk(self, db: TableDb, landing: Landing, into: str, rows: pa.Table) -> None:
        """Fill a work table over a second connection, which commits by itself, and take its rows from there in our own
        transaction: so a crash in between leaves nothing but a work table that the next load empties."""
        if db.loader is None:
            db.loader = self.connect()
        loader, tables = db.loader, self._tables(db.loader)
        name = f"{PREFIX}work_{landing.chunk[-16:]}_{db.sequence(1)[0]}"
        schema = tables.catalogue.schema
        work, listed = db.dialect.place(schema, name), ", ".join(map(db.quote, rows.column_names))
        query = f"SELECT {listed} FROM {tables.place(landing.write.dataset.name if landing.merges else landing.into)}"
        loader.say([db.dialect.create_as(work, query)])
        loader.commit()
        try:
            loader.bulk((schema, name), rows)
            with self._inserting(db, landing, "" if landing.merges else into):
                db.say([f"INSERT INTO {into} ({listed}) SELECT {listed} FROM {work}"])
        finally:
            db.leftovers.append(work)

    def _checked(self, db: TableDb, arrays: Sequence[pa.Array[Any]], columns: Sequence[tuple[str, str]]) -> None:
        """Raise CastError for values that this system or its driver would change without a word."""
        names = [name for name, _ in columns]
        for array, (name, native) in zip(arrays, columns, strict=True):
            codec = db.dialect.codec(native, db.codec) if pa.types.is_string(array.type) else ""
            if codec:
                encodable(array, name, codec)
        if db.cuts_at_nul:
            without_nul(arrays, names)
        if db.dialect.finite:
            only_finite(arrays, names)
        if db.dialect.empty and self.reach.keeps_empty:
            without_empty(arrays, names)

    def _into(self, db: TableDb, landing: Landing) -> str:
        return self._chunk(db, landing) if landing.merges else self._tables(db).place(landing.into)

    @contextmanager
    def _inserting(self, db: TableDb, landing: Landing, table: str) -> Iterator[None]:
        """Identity columns take the arriving values inside the block, if some arrive."""
        target = landing.target
        needed = table and target is not None and set(target.always) & set(landing.write.dataset.columns)
        if not needed:
            yield
            return
        db.say([db.dialect.inserting(table, on=True)])
        db.overriding = db.dialect.overriding
        try:
            yield
        finally:
            db.overriding = ""
            db.say([db.dialect.inserting(table, on=False)])

    def merge(self, db: Db, landing: Landing, source: str) -> Written:
        """See SqlSystem.merge."""
        own = self._own(db)
        write = landing.write
        if landing.staged:
            place = self._tables(own).place(source)
            merged = self._deduplicated(own, place, write.key)
        else:
            place, merged = self._chunk(own, landing), own.superseded
        target = self._tables(own).place(write.dataset.name)
        with self._inserting(own, landing, target):
            written = self._step(own, landing, place).merge(write.mode, write.deletes)
        written.merged = merged
        return written

    def _deduplicated(self, db: TableDb, stage: str, key: Sequence[str]) -> int:
        before = db.count(stage)
        db.say([db.dialect.superseded(stage, key)])
        return before - db.count(stage)

    def _step(self, db: TableDb, landing: Landing, source: str) -> Merge:
        write, tables = landing.write, self._tables(db)
        found = landing.target
        soft = write.deletes is Deletes.SOFT or (found is not None and DELETED_AT in found.columns)
        return Merge(
            db, tables.place(write.dataset.name), source, tuple(write.key), tuple(tables.loaded(landing)),
            landing.types, self.instant(write.started_at), soft=soft and write.mode is WriteMode.UPSERT,
            whole=landing.staged,
        )  # fmt: skip

    def remove(self, db: Db, target: str, chunk: str, key: Sequence[str]) -> int:
        """See SqlSystem.remove."""
        own = self._own(db)
        same = " AND ".join(f"t.{own.quote(name)} = s.{own.quote(name)}" for name in key)
        return deleted(own, target, f"EXISTS (SELECT 1 FROM {chunk} s WHERE {same})")

    def update_from(
        self, db: Db, tables: tuple[str, str], key: Sequence[str], columns: Sequence[str], also: str = ""
    ) -> None:
        """See SqlSystem.update_from."""
        update_from(self._own(db), tables, key, columns, also)

    def keep_matched(self, db: Db, tables: tuple[str, str], key: Sequence[str], also: str) -> None:
        """See SqlSystem.keep_matched."""
        keep_matched(self._own(db), tables, key, also)

    def current(self, db: Db, alias: str) -> str:
        """See SqlSystem.current."""
        own = self._own(db)
        return f"{alias}.{own.quote(CURRENT)} = {own.dialect.truth[0]}"

    def clear(self, db: Db, landing: Landing, target: str) -> int:
        """See SqlSystem.clear."""
        own, write = self._own(db), landing.write
        return taken_out(own, write, target, among="1 = 1", at=self.instant(write.started_at))

    def instant(self, started_at: str) -> str:
        """See SqlSystem.instant."""
        at = datetime.fromisoformat(started_at or self.now()).astimezone(UTC)
        return self._own(self.control()).dialect.moment(at.strftime("%Y-%m-%d %H:%M:%S.%f"))

    def retire(self, db: Db, landing: Landing, target: str, chunk: str) -> int:
        """See SqlSystem.retire."""
        own, write = self._own(db), landing.write
        same = " AND ".join(f"t.{own.quote(name)} = s.{own.quote(name)}" for name in write.key)
        chosen = f"EXISTS (SELECT 1 FROM {chunk} s WHERE {same})"
        return taken_out(own, write, target, among=chosen, at=self.instant(write.started_at))

    def outdated(self, db: Db, landing: Landing) -> bool:
        """See Quarantining.outdated."""
        return outdated(self._own(db), landing, self.places(db, landing))

    def append_stage(self, db: Db, landing: Landing) -> int:
        """See SqlSystem.append_stage."""
        own, tables = self._own(db), self._tables(db)
        names = ", ".join(map(own.quote, tables.loaded(landing)))
        stage, target = tables.place(landing.stage), tables.place(landing.write.dataset.name)
        rows = own.count(stage)
        with self._inserting(own, landing, target):
            own.say([f"INSERT INTO {target} ({names}){own.overriding} SELECT {names} FROM {stage}"])
        return rows

    # ---- generations

    def publish(self, db: Db, landing: Landing) -> Written | None:
        """See SqlSystem.publish."""
        own, tables = self._own(db), self._tables(db)
        name = landing.write.dataset.name
        now = tables.target(name)
        if now is None or (own.dialect.swaps and not now.pinned):
            tables.swap(landing)
            return None
        tables.keep(name, now)
        self.alter(own, name, landing.alterations)
        missing = [landing.write.dataset.schema.field(n) for n in landing.missing if n not in now.columns]
        tables.add_columns(landing, name, missing)
        try:
            written = self._refill(own, landing, now)
        except RefusedRowsError as error:
            held = ", ".join(now.pinned) or "its own constraints"
            raise DataError(
                f"{name!r} cannot be refilled: {error.message}", path=landing.write.stream, hint=f"it is held by {held}"
            ) from None
        if own.dialect.ddl_commits:
            own.commit()  # the refill is visible; what follows finds the stage gone and knows that it was done
        self.drop(own, landing.stage)
        return written

    def _refill(self, db: TableDb, landing: Landing, now: Target) -> Written | None:
        """Make the target's rows those of the stage without giving up the table, in the open transaction: by key where
        something refers to its rows, otherwise all at once."""
        tables = self._tables(db)
        stage, target = tables.place(landing.stage), tables.place(landing.write.dataset.name)
        names = ", ".join(map(db.quote, tables.loaded(landing)))
        with self._inserting(db, landing, target):
            if now.pinned and landing.write.key:
                return self._step(db, landing, stage).upsert(Deletes.HARD)
            gone = db.count(target) if now.pinned else 0
            rows = db.count(stage)
            insert = f"INSERT INTO {target} ({names}){db.overriding} SELECT {names} FROM {stage}"
            db.say([f"DELETE FROM {target}", insert])
        return Written(inserted=rows, deleted=gone) if now.pinned else None

    def put_back(self, db: Db, name: str) -> int:
        """See SqlSystem.put_back."""
        return self._tables(db).put_back(name)


def last_of_each(rows: pa.Table, key: Sequence[str]) -> tuple[pa.Table, int]:
    """The last row of each key, in order, and how many others there were."""
    import pyarrow.compute as pc

    at = "_tongqu_row"
    numbered = rows.select(list(key)).append_column(at, pa.array(range(rows.num_rows), pa.int64()))
    try:
        last: Any = numbered.group_by(list(key)).aggregate([(at, "max")]).column(f"{at}_max")
    except pa.ArrowNotImplementedError as error:
        raise SchemaError(f"the key ({', '.join(key)}) has a type that nothing can be merged by: {error}") from None
    if len(last) == rows.num_rows:
        return rows, 0
    order: Any = pc.array_sort_indices(last)
    return rows.take(last.take(order)), rows.num_rows - len(last)
