"""Turns the events of a log into batches of changes: tables told apart, transactions kept whole, places told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from tongqu.connectors.mysql import catalog
from tongqu.connectors.mysql.db import MysqlDb
from tongqu.connectors.mysql.log import events as e
from tongqu.connectors.mysql.log import server
from tongqu.connectors.mysql.log.dump import RESYNC, Dump, TornError
from tongqu.connectors.mysql.log.events import Event, TableMap
from tongqu.connectors.mysql.log.gathering import Gathering
from tongqu.connectors.mysql.log.places import Place, added, domains
from tongqu.connectors.mysql.log.rereading import Rereading
from tongqu.connectors.mysql.log.shapes import Shape, Shapes, described
from tongqu.connectors.mysql.log.statements import ALTERED, CASCADED, GONE, RENAMED, TRUNCATED, WRITTEN, Effect, effects
from tongqu.connectors.mysql.log.unreadable import unreadable
from tongqu.connectors.mysql.stream import Stream
from tongqu.core.data import Batch, Dataset
from tongqu.core.errors import LostPositionError, ReadError, SchemaError, TongquError
from tongqu.core.log import AT, OP, Follow

_BYTES = 16 << 20
_BEAT = 0.9
_WAIT = 0.2
_MOMENT = pa.timestamp("us", "UTC")


class Reading:
    """One go through the log; `shapes` are the tables' columns where it begins."""

    def __init__(
        self, db: MysqlDb, kept: Shapes, again: Rereading, shapes: dict[str, Shape], datasets: Mapping[str, Dataset]
    ):
        self._settings = db.settings
        self._db = db
        self._kept = kept
        self._again = again
        self._shapes = shapes
        self._names = {(shape.schema, shape.table): name for name, shape in shapes.items()}
        self._told = {name: dataset.schema for name, dataset in datasets.items()}
        self._maps: dict[int, tuple[str, TableMap] | None] = {}
        self._raw: dict[int, bytes] = {}
        self._waiting: dict[str, Gathering] = {}
        self._altered: set[str] = set()
        self._looked: dict[str, Place] = {}
        self._charsets: dict[int, tuple[str, str, int]] | None = None
        self._open = False
        self._untold = True
        self._said = time.monotonic()
        self._gtid = ""
        self._standalone = False
        self._executed: tuple[str, int] | None = None
        self._emptied: list[str] = []
        self._own = int(db.rows("SELECT @@server_id")[0][0])

    def run(self, dump: Dump, start: Place, follow: Follow) -> Iterator[Batch]:
        """Batches behind `start`; see Log.read."""
        self._place, self._follow = start, follow
        self._ended, self._seconds = start.pos, start.seconds
        self._again.resume(start.again)
        self._domains = domains(start.gtid)
        self._limit = follow.batch_rows
        until = Place.of(follow.until) if follow.until is not None else None
        while True:
            if not self._open and until is not None and not self._again.busy and self.here().behind(until):
                yield from self._flush(last=self._untold)
                return
            if follow.stop.is_set():
                if not self._open:
                    yield from self._flush(last=self._untold)
                return
            arrived = dump.take(_WAIT)
            for event in arrived:
                before = self._open
                yield from self._event(event)
                ended = before and not self._open
                if ended and until is not None and not self._again.busy and self.here().behind(until):
                    yield from self._flush(last=self._untold)
                    return
            if not self._open:
                if not arrived or dump.idle:
                    yield from self._flush()
                if self._again.busy:
                    yield from self._piece(follow)
                if time.monotonic() - self._said > _BEAT:
                    yield from self._flush(last=True)

    # ---- events

    def _event(self, event: Event) -> Iterator[Batch]:
        kind = event.kind
        if kind in e.ROWS:
            yield from self._rows(event)
        elif kind == e.TABLE_MAP:
            self._map(event)
        elif kind == e.MARIADB_GTID:
            gtid, flags = e.mariadb_gtid(event)
            if flags & (e.PREPARED_XA | e.COMPLETED_XA):
                self._xa()
            self._gtid = gtid
            self._standalone = bool(flags & e.STANDALONE)
            self._open = True
        elif kind == e.XID:
            yield from self._end(event)
        elif kind in (e.QUERY, e.MARIADB_QUERY_COMPRESSED, e.EXECUTE_LOAD):
            yield from self._query(event)
        else:
            self._other(event)

    def _other(self, event: Event) -> None:
        """What has no rows and ends nothing."""
        kind = event.kind
        if kind in (e.GTID, e.ANONYMOUS_GTID):
            self._executed = e.mysql_gtid(event) if kind == e.GTID else None
            self._open, self._standalone = True, True
        elif kind == e.ROTATE:
            file, pos = e.rotate(event)
            self._file(file, pos)
        elif kind == e.FORMAT:
            self._born(event)
        elif kind in (e.HEARTBEAT, e.HEARTBEAT_V2):
            self._beat(event)
        elif kind == e.XA_PREPARE:
            self._xa()
        else:
            refusal = unreadable(event, self._settings.display())
            if refusal is not None:
                raise refusal

    def _map(self, event: Event) -> None:
        number = int.from_bytes(event.body[:6], "little")
        if self._raw.get(number) == event.body:
            return
        number, found = e.table_map(event.body)
        name = self._names.get((found.schema, found.table))
        self._raw[number] = event.body
        self._maps[number] = None if name is None else (name, found)

    def _rows(self, event: Event) -> Iterator[Batch]:
        number = int.from_bytes(event.body[:6], "little")
        known = self._maps.get(number)
        if known is None:
            return
        try:
            yield from self._gathered(*known, event)
        except TongquError as error:
            self._lose(known[0], error)

    def _gathered(self, name: str, found: TableMap, event: Event) -> Iterator[Batch]:
        waiting = self._waiting.get(name)
        if waiting is None or waiting.map is not found:
            yield from self._flush_one(name)
            yield from self._shape(name, found)
            waiting = self._waiting[name] = Gathering(self._shapes[name], found)
        origin = "" if event.server == self._own else str(event.server)
        waiting.add(e.rows(event), event.seconds, origin)
        if waiting.rows >= self._limit or waiting.bytes >= _BYTES:
            yield from self._flush()

    def _shape(self, name: str, found: TableMap) -> Iterator[Batch]:
        """Make sure that the table's columns are those of the rows that follow, and tell if they are others."""
        shape = self._shapes[name]
        if name in self._altered or not shape.fits(found):
            shape = self._learn(name, shape, found)
            self._kept.keep(self.here().moved(again={}, pieces=0), shape)
            self._shapes[name] = shape
            self._altered.discard(name)
        if not self._told[name].equals(shape.arrow):
            same = [(f.name, f.type) for f in self._told[name]] == [(f.name, f.type) for f in shape.arrow]
            self._told[name] = shape.arrow
            if not same:
                empty = pa.RecordBatch.from_pylist([], schema=shape.arrow)  # the dataset's columns, and no others
                yield self._batch(name, empty, None, kind="schema")

    def _learn(self, name: str, shape: Shape, found: TableMap) -> Shape:
        """The columns after a change: from the log itself, or from the catalog if that can be of this place."""
        info = catalog.find(self._db, name)
        if found.names:
            if self._charsets is None:
                self._charsets = server.charsets(self._db)
            return described(shape, found, info, self._charsets)
        now = Shape.of(info, shape.key) if info is not None else None
        if now is None or not now.fits(found):
            raise SchemaError(
                "the columns were changed more than once, and the log does not name them", path=name,
                hint=f"SET GLOBAL binlog_row_metadata = 'FULL', then {RESYNC}",
            )  # fmt: skip
        self._looked[name] = server.head(self._db)
        return now

    # ---- statements

    def _query(self, event: Event) -> Iterator[Batch]:
        schema, text = e.query(event)
        if text in ("BEGIN", "COMMIT", "ROLLBACK") or text.startswith(("SAVEPOINT", "ROLLBACK TO", "XA ")):
            if text == "BEGIN":
                self._open, self._standalone = True, False
            elif text in ("COMMIT", "ROLLBACK"):  # rolled back rows that are logged are of tables without transactions
                yield from self._end(event)
            elif text.startswith("XA "):
                self._xa()
            return
        found = [effect for effect in effects(text, schema) if self._concerns(effect)]
        alone = self._standalone or not self._open
        if found:
            yield from self._flush()
            for number, effect in enumerate(found):
                try:
                    if self._concerns(effect):
                        yield from self._effect(effect, found[number + 1 :], text)
                except TongquError as error:
                    self._lose(error.path, error)
        if alone:
            yield from self._end(event)
            if self._emptied:
                for name in self._emptied:
                    yield self._batch(name, _none(self._told[name]), self.here(), kind="truncate")
                self._emptied = []
                self._untold = False

    def _lose(self, name: str, error: TongquError) -> None:
        """Follow this table no more; raises the error if it is none, or of more than one table."""
        if error.retryable or name not in self._shapes:
            raise error
        del self._shapes[name]
        self._names = {place: own for place, own in self._names.items() if own != name}
        self._maps = {number: known for number, known in self._maps.items() if known is None or known[0] != name}
        self._raw.clear()
        self._waiting.pop(name, None)
        self._emptied = [own for own in self._emptied if own != name]
        self._again.leave(name)
        self._follow.lose(name, error)

    def _concerns(self, effect: Effect) -> bool:
        if not effect.table or effect.does == WRITTEN:
            return any(schema == effect.schema for schema, _ in self._names)
        if effect.does == CASCADED and self._settings.cascades == "ignore":
            return False
        return (effect.schema, effect.table) in self._names or effect.to in self._names

    def _effect(self, effect: Effect, rest: list[Effect], text: str) -> Iterator[Batch]:
        name = self._names.get((effect.schema, effect.table), "")
        if effect.does == TRUNCATED and name:
            self._emptied = [*self._emptied, name]
        elif effect.does == ALTERED:
            self._change(name)
        elif effect.does == RENAMED:
            if effect.to in self._names:
                taken = self._names[effect.to]
                if not effect.same_rows:
                    raise self._gone(taken, f"was replaced by {effect.table}, whose rows are not in the log")
                self._change(taken)
            back = any(other.does == RENAMED and other.to == (effect.schema, effect.table) for other in rest)
            if name and not back:
                raise self._gone(name, f"was renamed to {effect.to[1]}")
        elif effect.does in GONE:
            raise self._gone(name or effect.schema, GONE[effect.does])
        elif effect.does == WRITTEN:
            name = name or effect.schema
            raise ReadError(
                f"a change of {name} is in the log as a statement, not as rows: {text[:80]!r}", path=name,
                hint=f"SET GLOBAL binlog_format = 'ROW', let the writers log in anew, and {RESYNC}",
            )  # fmt: skip
        yield from ()

    def _change(self, name: str) -> None:
        looked = self._looked.get(name)
        if looked is not None and looked.behind(self.here()):
            raise LostPositionError(
                "the columns were changed twice before they were read, and the log does not name them", path=name,
                hint=f"SET GLOBAL binlog_row_metadata = 'FULL', then {RESYNC}",
            )  # fmt: skip
        self._altered.add(name)
        self._raw.clear()

    def _gone(self, name: str, what: str) -> LostPositionError:
        return LostPositionError(
            f"the table {name} {what}", path=name, hint=f"leave it out of the sync; or, if it is there again, {RESYNC}"
        )

    def _xa(self) -> None:
        raise ReadError(
            "the log holds a prepared XA transaction, which cannot be followed", path=self._settings.display(),
            hint="end XA transactions by COMMIT ONE PHASE, or sync with --mode incremental",
        )  # fmt: skip

    # ---- places

    def _end(self, event: Event) -> Iterator[Batch]:
        """A transaction is whole."""
        self._open = self._standalone = False
        if self._gtid:
            domain, own, number = self._gtid.split("-")
            self._domains[int(domain)] = int(own), int(number)
            self._gtid = ""
        if self._executed is not None:
            self._place = self._place.moved(gtid=added(self._place.gtid, *self._executed))
            self._executed = None
        self._ended = event.end or self._ended
        self._seconds = event.seconds
        self._untold = True
        yield from self._due()

    def here(self) -> Place:
        """The end of the last whole transaction."""
        place = self._place
        if (place.pos, place.seconds) != (self._ended, self._seconds):
            place = self._place = place.moved(pos=self._ended, seconds=self._seconds)
        if self._domains:
            gtid = ",".join(f"{d}-{s}-{n}" for d, (s, n) in sorted(self._domains.items()))
            if gtid != place.gtid:
                place = self._place = place.moved(gtid=gtid)
        return place

    def _file(self, file: str, pos: int) -> None:
        if not self._open and file != self._place.file:
            self._place = self.here().moved(file=file, pos=pos, born=0)
            self._ended = pos
            self._untold = True
        self._raw.clear()
        self._maps.clear()

    def _born(self, event: Event) -> None:
        if self._open:
            raise TornError
        if self._place.born and event.seconds != self._place.born:
            raise LostPositionError(
                f"{self._place.file} was begun anew since it was read: the server's log was reset, or it is another "
                "server", path=self._settings.display(), hint=RESYNC,
            )  # fmt: skip
        self._place = self._place.moved(born=event.seconds)

    def _beat(self, event: Event) -> None:
        """The server is at its end, where we are too."""
        if not self._open and event.end > self._ended:
            self._ended = event.end
            self._untold = True

    # ---- batches

    def _due(self) -> Iterator[Batch]:
        """At the end of a transaction: the piece of a table read again that belongs exactly here."""
        if self._again.ready and self._again.waits_for(self.here()):
            yield from self._flush()
            for batch in self._again.take(self.here()):
                self._place = self._place.moved(again=self._again.state, pieces=self._place.pieces + 1)
                yield self._batch(batch.dataset, batch.rows, self.here(), bad=batch.bad)

    def _flush_one(self, name: str) -> Iterator[Batch]:
        waiting = self._waiting.pop(name, None)
        if waiting is not None and waiting.rows:
            rows, bad = waiting.take()
            yield self._batch(name, rows, None, bad=bad)

    def _flush(self, *, last: bool = False) -> Iterator[Batch]:
        """All that waits, the last of it with the place if no transaction is open; with `last` the place anyway."""
        cut = not self._open or self._standalone
        full = [name for name, waiting in self._waiting.items() if waiting.rows]
        for number, name in enumerate(full, 1):
            rows, bad = self._waiting[name].take()
            end = cut and number == len(full)
            yield self._batch(name, rows, self.here() if end else None, bad=bad)
            if end:
                self._untold = False
        if last and cut and (self._untold or not full):
            name = next(iter(self._told))
            yield self._batch(name, _none(self._told[name]), self.here(), kind="heartbeat")
            self._untold = False

    def _batch(self, name: str, rows: pa.RecordBatch, place: Place | None, **more: Any) -> Batch:
        self._said = time.monotonic()
        return Batch(name, rows, place.position if place else None, ends_transaction=place is not None, **more)

    def _piece(self, follow: Follow) -> Iterator[Batch]:
        """Read the next piece of a table that is to be read again; it comes when the log is at its place."""
        name = self._again.wanted
        if name:
            shape = self._shapes[name]
            stream = Stream(self._settings, follow.stop, encrypted=self._db.encrypted)
            try:
                self._again.next(stream, shape)
            finally:
                stream.close()
        yield from self._due()


def _none(schema: pa.Schema) -> pa.RecordBatch:
    fields = [*schema, pa.field(OP, pa.string()), pa.field(AT, _MOMENT)]
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in fields], schema=pa.schema(fields))
