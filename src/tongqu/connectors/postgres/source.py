"""Reads PostgreSQL: key ranges inside one exported snapshot, as Arrow batches or as raw COPY bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tongqu.connectors.postgres import catalog
from tongqu.connectors.postgres.copy_out import CopyPlan, CopyReader, Worker
from tongqu.connectors.postgres.db import PgDb, quoted
from tongqu.connectors.postgres.horizon import horizon
from tongqu.connectors.postgres.ranges import Bound, Cuts, Ordering, chunk_end, cuts, split_bounds
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.connectors.postgres.types import native_type
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Bytes, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import ConnectError, ConnectorError, NotFoundError, altered
from tongqu.core.select import Select
from tongqu.kit.drivers import ahead

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.connectors.postgres.arrow_read import ArrowReader
    from tongqu.core.compare import Comparable, Comparison
    from tongqu.core.feeling import Feeling
    from tongqu.core.log import Log

_SPLIT_ROWS = 50_000
"""A table of fewer rows is not cut into splits that are read side by side."""
_COUNTED_ROWS = 5_000
"""The chunks of a table of fewer rows are counted off: that is sooner done than looking up its statistics."""


class PostgresSource(Source):
    """All splits and datasets of one source object see the snapshot taken when the first of them was read, until a
    lost connection makes a new one necessary."""

    formats = ("pgcopy-binary", "pgcopy-text")
    dialect = "postgres"
    one_instant = True

    def __init__(self, settings: PostgresSettings, exported: str | None = None):
        """`exported` names a snapshot that somebody else holds open; full reads see it then."""
        self._settings = settings
        self._exported = exported
        self._catalog: PgDb | None = None
        self._holder: PgDb | None = None
        self._snapshot: str | None = None
        self._relations: dict[str, catalog.Relation] = {}
        self._cuts: dict[str, Cuts | None] = {}
        self._fingerprints: dict[int, tuple[str | None, frozenset[str]]] = {}
        self._workers: list[Worker] = []
        self._lock = threading.RLock()

    def check(self) -> Iterator[str]:
        """See Source.check."""
        yield from self._settings.stages()
        db = self._db()
        yield "tls" if db.connection.pgconn.ssl_in_use else "tls: not used"
        yield "login"
        found = catalog.relations(db, None)
        denied = [r.name for r in found if not db.rows("SELECT has_table_privilege(?::oid, 'SELECT')", (r.oid,))[0][0]]
        yield f"privilege: no SELECT on {', '.join(denied[:5])}" if denied else "privilege"
        yield f"sample: {len(found)} tables"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        with self._lock:
            db = self._db()
            ahead("asyncpg")
            found = catalog.relations(db, patterns)
            names = {relation.oid: relation.name for relation in found}
            self._relations.update({relation.name: relation for relation in found})
            self._fingerprints.update(catalog.fingerprints(self._db(), found))
            return [catalog.dataset(relation, names) for relation in found]

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits."""
        if not dataset.key:
            return [Split("0", dataset.name)]
        if (dataset.rows or 0) < _SPLIT_ROWS:
            wanted = 1
        with self._lock:
            ordering = self._ordering(dataset, dataset.key)
            bounds = split_bounds(self._db(), ordering, self._known(dataset, ordering), wanted)
        return [
            Split(str(number), dataset.name, {"lower": lower, "upper": upper})
            for number, (lower, upper) in enumerate(bounds)
        ]

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """See Source.horizon."""
        with self._lock:
            ordering = self._ordering(dataset, (cursor,))
            return horizon(self._db(), self._settings, dataset, ordering, after, ties=ties)

    def wire_types(self, dataset: Dataset, select: Select) -> list[str]:
        """See Source.wire_types."""
        with self._lock:
            own = {column.name: column.base or column.type for column in self._relation(dataset.name).columns}
        return [
            own[column.name] if column.sql is None or column.field is None else native_type(column.field, {})
            for column in select.columns
        ]

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        from pyarrow import schema as schema_of

        from tongqu.connectors.postgres import arrow_read

        columns = read.columns or read.dataset.columns
        schema = schema_of([read.dataset.schema.field(name) for name in columns])
        ordering, kind = self._ordered(read)
        lower, upper, closed = self._bounds(read, kind)
        limit = self._limit(read, kind)
        table = self._table(read.dataset.name)
        query = f"SELECT {arrow_read.select_list(read.dataset, columns)} FROM {table} WHERE "
        known = self._known(read.dataset, ordering) if kind == "key" else None
        reader = arrow_read.ArrowReader(self._settings, self._snapshot_for(read))
        try:
            while not read.stop.is_set():
                rows = read.chunk_rows if read.until is None else 0
                bound, last = reader.end(chunk_end(ordering, known, lower, upper, rows, closed=closed))
                condition = ordering.condition(lower, bound, closed=closed, within=limit) if ordering else "TRUE"
                position: dict[str, Any] = {kind: bound} if bound is not None else {}
                if last:
                    position = read.until or (position | {"end": True})
                try:
                    yield from self._range(reader, read, query=query, condition=condition, schema=schema, end=position)
                except ConnectorError:
                    self._unaltered(read.dataset.name)
                    raise
                if last:
                    return
                lower, closed = bound, False
        finally:
            reader.close()

    def _range(
        self,
        reader: ArrowReader,
        read: Read,
        *,
        query: str,
        condition: str,
        schema: pa.Schema,
        end: Position,
    ) -> Iterator[Batch]:
        """The batches of one range; only the last carries the position `end`."""
        import pyarrow as pa

        from tongqu.connectors.postgres import arrow_read

        held: pa.RecordBatch | None = None
        bad = 0
        for batch in reader.batches(query + condition, schema):
            clean, count = arrow_read.take_bad(batch)
            bad += count
            if held is not None:
                yield Batch(read.dataset.name, held, None)
            held = clean
        self._unaltered(read.dataset.name)
        rows = held if held is not None else pa.RecordBatch.from_pylist([], schema=schema)
        table = self._table(read.dataset.name)
        refused = arrow_read.bad_rows(reader, read.dataset, tuple(schema.names), condition, table) if bad else []
        yield Batch(read.dataset.name, rows, end, bad=tuple(refused))

    def copy_out(self, read: Read, select: Select, format: str) -> Iterator[Bytes]:
        """See Source.copy_out."""
        ordering, kind = self._ordered(read)
        lower, upper, closed = self._bounds(read, kind)
        parts = []
        for column in select.columns:
            sql = column.sql or quoted(column.name)
            if column.cast:
                sql = f"({sql})::{column.cast}"
            parts.append(f"{sql} AS {quoted(column.name)}")
        worker = self._worker()
        worker.prepare()
        try:
            plan = CopyPlan(
                select=", ".join(parts),
                columns=tuple(column.name for column in select.columns),
                table=self._table(read.dataset.name),
                ordering=ordering,
                cuts=self._known(read.dataset, ordering) if kind == "key" else None,
                lower=lower,
                upper=upper,
                closed=closed,
                where=select.where,
                snapshot=self._snapshot_for(read),
                format=format,
                chunk_rows=read.chunk_rows,
                kind=kind,
            )
        except BaseException:
            worker.stop()
            raise
        reader = CopyReader(worker, plan, read.stop)
        try:
            for number, piece in enumerate(reader):
                piece.chunks = self._blocks(read.dataset.name, piece.chunks)
                if number == 0:
                    piece.rows = self._surely(read.dataset.name, piece.rows)
                yield piece
        except ConnectorError:
            self._unaltered(read.dataset.name)
            raise
        finally:  # whoever has the last piece asks for no more: the generator is closed, not exhausted
            if reader.drained and worker.idle.wait(timeout=1):
                with self._lock:
                    self._workers.append(worker)
            elif reader.drained:
                worker.stop()

    def _surely(self, name: str, rows: Callable[[], int]) -> Callable[[], int]:
        """The row count of a split's first chunk, once it is sure that the table was not altered before it was read;
        after that the open transaction keeps it from being altered."""

        def checked() -> int:
            self._unaltered(name)
            return rows()

        return checked

    def _blocks(self, name: str, blocks: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """The blocks; what goes wrong with an altered table is told as such."""
        try:
            yield from blocks
        except ConnectorError:
            self._unaltered(name)
            raise

    def _unaltered(self, name: str) -> None:
        """Raise SchemaError if the table is not the one that was discovered. New columns do not matter."""
        with self._lock:
            relation = self._relation(name)
            file, columns = self._fingerprints[relation.oid]
            now = catalog.fingerprints(self._db(), [relation]).get(relation.oid)
        if now is None or not columns <= now[1]:
            gone = sorted(column.split(" ")[0] for column in columns - (now[1] if now else frozenset()))
            raise altered(name, f"{', '.join(gone)} dropped, renamed or of another type" if now else "it was dropped")
        if now[0] != file:
            raise altered(name, "its rows were rewritten (ALTER TABLE, TRUNCATE or VACUUM FULL)")

    def _worker(self) -> Worker:
        """A worker that has ended its last copy, or a new one."""
        with self._lock:
            while self._workers:
                worker = self._workers.pop()
                if worker.alive:
                    return worker
        return Worker(self._settings)

    def comparing(self, dataset: Dataset, comparison: Comparison, condition: str = "") -> Comparable | None:
        """See Source.comparing."""
        from tongqu.connectors.postgres.compare import PostgresComparable

        types = {column.name: column.base or column.type for column in self._relation(dataset.name).columns}
        table = self._table(dataset.name)
        return PostgresComparable(self._settings, dataset, comparison, table=table, types=types, condition=condition)

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        from tongqu.connectors.postgres.log import PostgresLog

        return PostgresLog(self._settings, name, datasets, lambda held: PostgresSource(self._settings, held))

    def close(self) -> None:
        """See Source.close."""
        for worker in self._workers:
            worker.stop()
        self._workers.clear()
        for db in (self._catalog, self._holder):
            if db is not None:
                db.close()
        self._catalog = self._holder = self._snapshot = None

    # ---- inside

    def _db(self) -> PgDb:
        if self._catalog is None or self._catalog.broken:
            self._catalog = PgDb(self._settings, "source")
        return self._catalog

    def _snapshot_for(self, read: Read) -> str | None:
        """Full reads share one snapshot; an incremental read must see everything up to its horizon, which may have
        been found later than that snapshot, so it takes its own."""
        return None if read.mode is Mode.INCREMENTAL else self._shared_snapshot()

    def _shared_snapshot(self) -> str | None:
        """The exported snapshot, made anew when the connection that held it is gone; None on a standby."""
        if self._exported is not None:
            return self._exported
        with self._lock:
            if self._holder is not None and not self._alive(self._holder):
                self._holder.close()
                self._holder = None
            if self._holder is None:
                holder, self._catalog = self._db(), None  # whoever looks into the catalogue later connects anew
                self._holder = holder
                holder.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                found = holder.rows("SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_export_snapshot() END")
                self._snapshot = found[0][0]
            return self._snapshot

    def instant(self) -> str:
        """See Dated.instant."""
        return self._shared_snapshot() or ""

    def feel(self, between: Callable[[], object] | None = None) -> Feeling:
        """See Felt.feel."""
        from tongqu.connectors.postgres.feeling import feel

        with self._lock:
            return feel(self._db(), between)

    def at(self, instant: str) -> None:
        """See Dated.at."""
        self._exported = instant

    @staticmethod
    def _alive(db: PgDb) -> bool:
        try:
            db.rows("SELECT 1")
        except ConnectError:
            return False
        return True

    def _relation(self, name: str) -> catalog.Relation:
        if name not in self._relations:
            self.datasets([name])
        if name not in self._relations:
            raise NotFoundError(
                f"there is no table {name!r}", path=self._settings.display(), hint="name it as schema.table"
            )
        return self._relations[name]

    def _table(self, name: str) -> str:
        with self._lock:
            relation = self._relation(name)
        return f"{quoted(relation.schema)}.{quoted(relation.table)}"

    def _ordering(self, dataset: Dataset, columns: tuple[str, ...]) -> Ordering:
        relation = self._relation(dataset.name)
        types = {column.name: column.type for column in relation.columns}
        return Ordering(self._table(dataset.name), columns, tuple(types[name] for name in columns))

    def _known(self, dataset: Dataset, ordering: Ordering | None) -> Cuts | None:
        """What the statistics say about where the dataset can be cut along its key; looked up once."""
        if ordering is None or (dataset.rows or 0) < _COUNTED_ROWS:
            return None
        with self._lock:
            if dataset.name not in self._cuts:
                self._cuts[dataset.name] = cuts(self._db(), ordering, self._relation(dataset.name).oid)
            return self._cuts[dataset.name]

    def _ordered(self, read: Read) -> tuple[Ordering | None, str]:
        """What the read is cut along: the cursor, or the key; and the position's word for it."""
        if read.mode is Mode.INCREMENTAL and read.cursor:
            return self._ordering(read.dataset, (read.cursor,)), "cursor"
        if read.dataset.key:
            return self._ordering(read.dataset, read.dataset.key), "key"
        return None, "key"

    @staticmethod
    def _limit(read: Read, kind: str) -> Bound | None:
        """Where the split ends. A position after a chunk may lie above it."""
        spec = read.split.spec
        limit: Bound | None = (spec.get("until") or {}).get(kind) if kind == "cursor" else spec.get("upper")
        return limit

    @staticmethod
    def _bounds(read: Read, kind: str) -> tuple[Bound | None, Bound | None, bool]:
        """Lower bound, upper bound and whether the lower one is included."""
        spec = read.split.spec
        start = (spec.get("after") or {}).get(kind) if kind == "cursor" else spec.get("lower")
        end = PostgresSource._limit(read, kind)
        resumed = (read.after or {}).get(kind)
        if read.until is not None:
            end = read.until.get(kind, end)
        closed = kind == "cursor" and resumed is None and read.ties
        return (resumed if resumed is not None else start), end, closed
