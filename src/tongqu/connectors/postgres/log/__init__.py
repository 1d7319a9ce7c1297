"""Follows PostgreSQL's change log: pgoutput over streaming replication."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tongqu.connectors.postgres import catalog
from tongqu.connectors.postgres.db import PgDb
from tongqu.connectors.postgres.log import publication
from tongqu.connectors.postgres.log import slot as slots
from tongqu.connectors.postgres.log.stream import Replication, number_of, text_of, up_to
from tongqu.core.data import Batch, Dataset, Position
from tongqu.core.errors import ConnectError, ConnectorError, InvalidPlanError, LostPositionError, NotFoundError
from tongqu.core.log import Finding, Follow, Lag, Log, Unsent

if TYPE_CHECKING:
    from tongqu.connectors.postgres.log.again import Again
    from tongqu.connectors.postgres.log.decode import Decoder
    from tongqu.connectors.postgres.log.tables import Tables
    from tongqu.connectors.postgres.settings import PostgresSettings
    from tongqu.core.connector import Source

_BLOCK = 32_768
"""Messages in a block, at most."""
_FEW, _READY = 3_000, 0.02
"""After a block of fewer messages the next one is not begun before its rows are written, or so many seconds later."""
_IDLE = 0.1
"""Seconds without a message after which the log counts as idle."""
_ASK = 0.4
"""Seconds between questions for the end of the log while it is idle."""
_LOOK = 5.0
"""Seconds between looks at whether all tables are still published."""


class PostgresLog(Log):
    """See Log. The server keeps the log under a publication and a slot of one name, made of the log's name.

    Transactions come whole and in the order of their commits; one larger than the server's
    `logical_decoding_work_mem` waits on its disk, not in our memory, and arrives in blocks of at most 8 MiB. Positions
    are ends of transactions, with the server's identity and timeline. What is told as durable is what `acknowledge`
    was told, nothing else.
    """

    def __init__(
        self,
        settings: PostgresSettings,
        name: str,
        datasets: Sequence[Dataset],
        seeing: Callable[[str], Source],
    ):
        """`seeing` makes a source whose full reads see an exported snapshot."""
        self._settings = settings
        self._seeing = seeing
        self._datasets = tuple(datasets)
        self._name = slots.slot_name(name)
        self._catalog: PgDb | None = None
        self._exporter: Replication | None = None
        self._snapshot: str | None = None
        self._replication: Replication | None = None
        self._server: slots.Server | None = None
        self._lock = threading.RLock()
        self._durable = 0
        self._told = 0
        self._again: Again | None = None
        self._seen: tuple[int, float] = (0, 0.0)

    @property
    def slot(self) -> str:
        """The name of the replication slot and of the publication."""
        return self._name

    def begin(self) -> Position:
        """See Log.begin."""
        with self._lock:
            db = self._db()
            found = slots.slot(db, self._name)
            tables = self._relations(whole=found is None)
            slots.able(db, self._settings)
            if found is not None:
                why = "the server invalidated its slot" if found.lost else ""
                if not why and found.here:
                    why = publication.broken(db, self._name, tables)
                if why:
                    raise slots.lost_because(self._name, text_of(found.confirmed), why)
                lost = publication.missed(db, self._name, tables, joining=True)
                tables = [relation for relation in tables if relation.name not in lost]
            slots.refuse(db, tables, self._keys(tables))
            self._publish(db, tables)
            if found is not None:
                return self._identity().position(self._name, found.confirmed)
            self._release()
            exporter = Replication(self._settings, "cdc")
            try:
                self._server = slots.server(exporter)
                lsn, snapshot = slots.created(exporter, db, self._name, self._settings)
            except BaseException:
                exporter.close()
                raise
            self._exporter, self._snapshot = exporter, snapshot
            return self._server.position(self._name, lsn)

    def _publish(self, db: PgDb, tables: Sequence[catalog.Relation]) -> None:
        """Publish these tables, of which one may be loaded now; the others of ours are lost."""
        lost = {dataset.name for dataset in self._datasets} - {relation.name for relation in tables}
        publication.published(db, self._name, tables, self._settings, lost=lost, anew=True)
        parts = publication.partial(db, self._name, tables).values()
        if why := publication.broken(db, self._name, tables) or next(iter(parts), ""):
            raise InvalidPlanError(why, path=self._name, hint=f'DROP PUBLICATION "{self._name}"; the sync makes it')

    def rejoin(self, dataset: str) -> Position:
        """See Log.rejoin. Every transaction that is in the log before the place has ended when this returns, so that
        later reads see it; a transaction is in the log before others can see it."""
        with self._lock:
            db = self._db()
            tables = self._relations(whole=False)
            own = next((relation for relation in tables if relation.name == dataset), None)
            if own is None:
                raise NotFoundError(f"there is no table {dataset!r}", path=self._settings.display())
            found = slots.slot(db, self._name)
            why = "its slot was dropped or invalidated" if found is None or found.lost else ""
            if why := why or publication.broken(db, self._name, tables):
                raise slots.lost_because(self._name, "0/0" if found is None else text_of(found.confirmed), why)
            slots.refuse(db, [own], self._keys([own]))
            lost = publication.missed(db, self._name, tables)
            self._publish(db, [relation for relation in tables if relation is own or relation.name not in lost])
            place = self.head()
            publication.settled(db, self._settings)
            return place

    def snapshot(self) -> Source | None:
        """See Log.snapshot."""
        with self._lock:
            return None if self._snapshot is None else self._seeing(self._snapshot)

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        from tongqu.connectors.postgres.log.decode import Decoder

        self._release()
        tables = self._tables()
        replication = Replication(self._settings, "cdc")
        try:
            db = self._db()
            server = slots.checked(replication, db, self._name, follow.after, tables.relations)
            self._server = server
            for dataset in self._datasets:
                if all(relation.name != dataset.name for relation in tables.relations):
                    follow.lose(dataset.name, self._loss(follow, f"{dataset.name} {publication.DROPPED}"))
            self._leave(tables, None, follow)
            lost = {dataset.name for dataset in self._datasets} - {relation.name for relation in tables.relations}
            with self._lock:
                publication.published(db, self._name, tables.relations, self._settings, lost=lost)
            slots.awaited(db, self._name, self._settings.connect_seconds, follow.stop)
            after = slots.lsn_of(follow.after)
            decoder = Decoder(tables.resolving(follow), lambda lsn: server.position(self._name, lsn), after)
            again = self._rereading()
            again.load()
            self._durable = max(self._durable, after)
            replication.start(self._name, after, self._name)
            self._replication = replication
            yield from self._follow(follow, replication, decoder, again, tables)
        except ConnectError:
            self._disconnect()
            raise
        finally:
            self._replication = None
            replication.close()

    def _follow(
        self, follow: Follow, replication: Replication, decoder: Decoder, again: Again, tables: Tables
    ) -> Iterator[Batch]:
        """Blocks until `until` or `stop`; between them word to the server, and chunks of tables read again."""
        end = slots.lsn_of(follow.until) if follow.until else None
        given, beat, asked, looked = decoder.lsn, time.monotonic(), 0.0, time.monotonic()
        patience = _IDLE if end is None else _IDLE / 10
        messages: Sequence[Any] = ()
        while not follow.stop.is_set():
            if 0 < len(messages) < _FEW:
                follow.ready(_READY)
            messages = replication.receive(min(_BLOCK, follow.batch_rows), patience)
            if end is not None:
                messages = up_to(messages, end)
            for batch in decoder.batches(messages) if messages else ():
                beat = time.monotonic()
                if batch.position is not None:
                    given = decoder.lsn
                yield batch
            replication.confirm(self._durable)
            again.durable(self._durable)
            now = time.monotonic()
            if now - looked > _LOOK:
                looked = now
                self._leave(tables, decoder, follow)
            if decoder.asked or replication.silent > 1:
                decoder.asked = False
                self._told = self._durable
                replication.tell(decoder.lsn)
            if again.pending and decoder.between and len(messages) < _BLOCK:
                for batch in again.chunk(tables.orderings(), decoder.xids, self._end):
                    yield batch
                yield self._heartbeat(decoder)
                given = decoder.lsn
            if not messages and now - asked > _ASK:
                asked = now
                replication.tell(decoder.lsn, ask=True)
            end = None if end is None else max(end, again.end)
            reached = end is not None and decoder.between and decoder.lsn >= end and not again.pending
            if decoder.between and (now - beat > 0.5 or (reached and decoder.lsn > given)):
                beat, given = now, decoder.lsn
                yield self._heartbeat(decoder)
            if reached:
                return

    def _leave(self, tables: Tables, decoder: Decoder | None, follow: Follow) -> None:
        """Leave out the tables of which the server does not tell all changes any more. Raises LostPositionError if
        that is all of them."""
        with self._lock:
            why = publication.broken(self._db(), self._name, tables.relations)
            lost = {} if why else publication.missed(self._db(), self._name, tables.relations)
        if why:
            raise self._loss(follow, why)
        for name, what in lost.items():
            oid = tables.leave(name)
            if decoder is not None:
                decoder.leave(oid)
            follow.lose(name, self._loss(follow, what))

    def _loss(self, follow: Follow, why: str) -> LostPositionError:
        return slots.lost_because(self._name, str(follow.after["lsn"]), why)

    def _heartbeat(self, decoder: Decoder) -> Batch:
        from pyarrow import RecordBatch

        first = self._datasets[0]
        empty = RecordBatch.from_pylist([], schema=first.schema)
        return Batch(first.name, empty, decoder.place(), kind="heartbeat")

    def head(self) -> Position:
        """See Log.head."""
        return self._identity().position(self._name, self._end())

    def _end(self) -> int:
        """The end of the log; on a primary everything before it is flushed, by a small message that is committed."""
        with self._lock:
            db = self._db()
            if db.rows("SELECT pg_is_in_recovery()")[0][0]:
                return number_of(str(db.rows("SELECT pg_last_wal_replay_lsn()::text")[0][0]))
            db.rows("SELECT pg_logical_emit_message(true, 'tongqu', '')::text")
            return number_of(str(db.rows("SELECT pg_current_wal_flush_lsn()::text")[0][0]))

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        return slots.lsn_of(position) >= slots.lsn_of(until)

    def acknowledge(self, position: Position) -> None:
        """See Log.acknowledge."""
        self._durable = max(self._durable, slots.lsn_of(position))

    def lag(self, position: Position) -> Lag:
        """See Log.lag. `until_loss` is known where the server limits what slots may hold (max_slot_wal_keep_size) and
        has written log between two questions."""
        from tongqu.connectors.postgres.log import health

        with self._lock:
            lag, self._seen = health.lag(self._db(), self._name, slots.lsn_of(position), self._seen)
        return lag

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        from tongqu.connectors.postgres.log import health

        with self._lock:
            return health.examine(self._db(), self._name, self._relations(whole=True), self._datasets)

    def unsent(self, dataset: str) -> Unsent | None:
        """See Log.unsent."""
        from tongqu.connectors.postgres.log import health

        with self._lock:
            relation = next(one for one in self._relations(whole=True) if one.name == dataset)
            return health.unsent(self._db(), relation)

    def filled(self, dataset: str, columns: Sequence[str], *, renamed: bool) -> bool:
        """See Log.filled."""
        from tongqu.connectors.postgres.log import health

        return health.filled(self._settings, dataset, columns, renamed=renamed)

    def resnapshot(self, dataset: str) -> None:
        """See Log.resnapshot. It survives a restart of whoever reads."""
        found = next((one for one in self._datasets if one.name == dataset), None)
        if found is None or not found.key:
            raise InvalidPlanError(
                f"{dataset!r} is not followed by key", hint=f"one of {', '.join(one.name for one in self._datasets)}"
            )
        self._rereading().want(dataset)

    def kept_as(self, position: Position) -> str:
        """See Log.kept_as: its slot."""
        return str(position.get("slot", ""))

    def taken(self, position: Position) -> bool:
        """See Log.taken."""
        with self._lock:
            return slots.taken(self._db(), self._name, position)

    def forget(self) -> None:
        """See Log.forget."""
        with self._lock:
            self._release()
            slots.dropped(self._db(), self._name)
            self._durable = self._told = 0

    def close(self) -> None:
        """See Log.close."""
        with self._lock:
            self._release()
            try:
                if self._again is not None:
                    self._again.durable(self._durable)
                if self._durable > self._told:
                    self._advance()
            except ConnectorError:
                pass  # the next reader tells the server where it goes on from
            finally:
                self._disconnect()

    # ---- inside

    def _advance(self) -> None:
        """Tell the server what became durable after the last reader had gone."""
        db = self._db()
        found = slots.slot(db, self._name)
        if found is not None and found.active is None and not found.lost and found.confirmed < self._durable:
            db.rows("SELECT pg_replication_slot_advance(?, ?::pg_lsn)::text", (self._name, text_of(self._durable)))
        self._told = self._durable

    def _db(self) -> PgDb:
        with self._lock:
            if self._catalog is not None and self._catalog.broken:
                self._disconnect()
            if self._catalog is None:
                self._catalog = PgDb(self._settings, "cdc")
            return self._catalog

    def _disconnect(self) -> None:
        with self._lock:
            if self._catalog is not None:
                self._catalog.close()
            self._catalog = None

    def _identity(self) -> slots.Server:
        with self._lock:
            if self._server is None:
                replication = Replication(self._settings, "cdc")
                try:
                    self._server = slots.server(replication)
                finally:
                    replication.close()
            return self._server

    def _release(self) -> None:
        """End the session that holds the exported snapshot."""
        with self._lock:
            if self._exporter is not None:
                self._exporter.close()
            self._exporter = self._snapshot = None

    def _relations(self, *, whole: bool) -> list[catalog.Relation]:
        """The tables that are there; with `whole` raises NotFoundError if one is not."""
        names = [dataset.name for dataset in self._datasets]
        found = {relation.name: relation for relation in catalog.relations(self._db(), names)}
        for name in names if whole else ():
            if name not in found:
                raise NotFoundError(f"there is no table {name!r}", path=self._settings.display())
        return [found[name] for name in names if name in found]

    def _keys(self, tables: Sequence[catalog.Relation]) -> dict[int, tuple[str, ...]]:
        keys = {dataset.name: dataset.key for dataset in self._datasets}
        return {relation.oid: keys[relation.name] for relation in tables}

    def _tables(self) -> Tables:
        from tongqu.connectors.postgres.log.tables import Tables

        with self._lock:
            return Tables(self._db, self._relations(whole=False), {dataset.name: dataset for dataset in self._datasets})

    def _rereading(self) -> Again:
        from tongqu.connectors.postgres.log.again import Again

        with self._lock:
            if self._again is None:
                self._again = Again(self._settings, self._db, self._name, self._lock)
            return self._again
