"""Follows the binary log of one server for some tables."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tongqu.connectors.mysql import catalog
from tongqu.connectors.mysql.db import MysqlDb, quoted
from tongqu.connectors.mysql.log import server
from tongqu.connectors.mysql.log.dump import Dump, TornError
from tongqu.connectors.mysql.log.events import FORMAT
from tongqu.connectors.mysql.log.examining import examined, seconds_kept, unsent
from tongqu.connectors.mysql.log.places import Place
from tongqu.connectors.mysql.log.reading import Reading
from tongqu.connectors.mysql.log.rereading import Rereading
from tongqu.connectors.mysql.log.shapes import Shape, Shapes
from tongqu.connectors.mysql.log.untold import refuse, untold
from tongqu.connectors.mysql.settings import MysqlSettings
from tongqu.core.data import Batch, Dataset, Position
from tongqu.core.errors import ConnectError, ConnectorError, InvalidPlanError, NotFoundError, SchemaError
from tongqu.core.log import Finding, Follow, Lag, Log, Unsent
from tongqu.kit import lasting

if TYPE_CHECKING:
    from tongqu.connectors.mysql.source import MysqlSource

_FIRST, _SEARCH = 10.0, 5


class MysqlLog(Log):
    """The row binlog of MariaDB or MySQL. The server keeps its log by age, not for us; nothing is created on it.

    What must be remembered lies in the source's lodge: where the log was begun, the versions of the tables' columns,
    and which tables shall be read again.
    """

    def __init__(self, source: MysqlSource, settings: MysqlSettings, name: str, datasets: Sequence[Dataset],
                 folder: Path | None):  # fmt: skip
        for dataset in datasets:
            if dataset.unsupported:
                raise SchemaError(
                    f"columns that cannot be read: {', '.join(dataset.unsupported)}", path=dataset.name,
                    hint="leave the table out",
                )  # fmt: skip
        self._source = source
        self._settings = settings
        self._name = name
        self._datasets = {dataset.name: dataset for dataset in datasets}
        self._lock = threading.Lock()
        self._begun: Path | None = folder / f"{name}.json" if folder else None
        self._place: Place | None = None
        self._torn: dict[str, Place] = {}
        self._shapes = Shapes(folder / f"{name}.tables.jsonl" if folder else None)
        self._again = Rereading(folder / f"{name}.again.json" if folder else None)

    def begin(self) -> Position:
        """See Log.begin. The place is such that every later read sees all before it."""
        with self._lock:
            found = self._stored()
            if found is not None:
                return found.position
            db = self._db()
            try:
                place = server.beginning(db)
                place = place.moved(born=self._born(place))
                shapes = [self._present(db, name) for name in self._datasets]
                refuse(db, {shape.name: (shape.schema, shape.table) for shape in shapes})
                for shape in shapes:
                    self._shapes.keep(place, shape)
            finally:
                db.close()
            self._store(place)
            return place.position

    def rejoin(self, dataset: str) -> Position:
        """See Log.rejoin."""
        with self._lock:
            db = self._db()
            try:
                place = server.beginning(db)
                place = place.moved(born=self._born(place))
                info = catalog.find(db, dataset)
                if info is None or info.view:
                    raise NotFoundError(f"there is no table {dataset!r}", path=self._settings.display())
                refuse(db, {dataset: (info.schema, info.table)})
                self._shapes.keep(place, Shape.of(info, self._datasets[dataset].key))
            finally:
                db.close()
            self._again.leave(dataset)
            return place.position

    def _born(self, place: Place) -> int:
        """When the file of a place was begun, as the log itself says."""
        dump = Dump(self._settings, place.file, place.pos)
        try:
            deadline = time.monotonic() + _FIRST
            while time.monotonic() < deadline:
                for event in dump.take(1.0):
                    if event.kind == FORMAT:
                        return event.seconds
        finally:
            dump.close()
        raise ConnectError("the server sent nothing of its log", path=self._settings.display())

    def _present(self, db: MysqlDb, name: str) -> Shape:
        """A table as it is now."""
        info = catalog.find(db, name)
        if info is None or info.view:
            what = "is a view" if info else "is not there"
            raise InvalidPlanError(f"{name} {what}, and only tables are in the log", path=name)
        return Shape.of(info, self._datasets[name].key)

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        place = Place.of(follow.after)
        db = self._db()
        try:
            by_file = server.kept(db, place)
            reading = Reading(db, self._shapes, self._again, self._at(db, place, follow), self._datasets)
            if by_file and (torn := self._torn.get(place.file)) is not None:
                yield from self._before(reading, place, torn, follow)
                place = reading.here().moved(file=server.following(db, place.file), pos=4, born=0)
                if follow.stop.is_set() or (follow.until is not None and reading.here().behind(Place.of(follow.until))):
                    return
            gtid = "" if by_file or not db.is_mariadb else place.gtid
            executed = "" if by_file or db.is_mariadb else place.gtid
            dump = Dump(self._settings, place.file, place.pos, gtid=gtid, executed=executed)
            try:
                own = server.name(db)
                start = place if by_file else place.moved(file="", pos=4, server=own, born=0)
                yield from reading.run(dump, start, follow)
            except TornError:
                raise self._broken(db, reading.here()) from None
            finally:
                dump.close()
        finally:
            db.close()

    def _broken(self, db: MysqlDb, place: Place) -> ConnectError:
        """A file ends within the transaction behind this place; if another follows, reading again passes over it."""
        if server.following(db, place.file):
            self._torn[place.file] = place
        return ConnectError(
            f"{place.file} of the server's log ends within a transaction, which the server rolled back when it came up "
            "again", path=self._settings.display(),
        )  # fmt: skip

    def _before(self, reading: Reading, place: Place, torn: Place, follow: Follow) -> Iterator[Batch]:
        """What a file has behind a place and before the transaction it ends within."""
        until = follow.until if follow.until is not None and torn.behind(Place.of(follow.until)) else torn.position
        dump = Dump(self._settings, place.file, place.pos)
        try:
            yield from reading.run(dump, place, replace(follow, until=until))
        finally:
            dump.close()

    def _at(self, db: MysqlDb, place: Place, follow: Follow) -> dict[str, Shape]:
        """The tables' columns at a place; where no version was kept (the home was lost), those of now, which rows that
        are not of them will contradict."""
        found = {name: self._shapes.at(name, place) for name in self._datasets}
        for name, shape in found.items():
            if shape is None:
                try:
                    found[name] = now = self._present(db, name)
                except InvalidPlanError as error:
                    follow.lose(name, error)
                else:
                    self._shapes.keep(place, now)
        there = {name: shape for name, shape in found.items() if shape is not None}
        for name, refusal in untold(db, {name: (s.schema, s.table) for name, s in there.items()}).items():
            follow.lose(name, refusal)
            del there[name]
        return there

    def head(self) -> Position:
        """See Log.head."""
        db = self._db()
        try:
            return server.head(db).position
        finally:
            db.close()

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        return Place.of(position).behind(Place.of(until))

    def acknowledge(self, position: Position) -> None:
        """See Log.acknowledge: where a later `begin` goes on."""
        with self._lock:
            self._store(Place.of(position))
        self._again.acknowledge(Place.of(position))

    def lag(self, position: Position) -> Lag:
        """See Log.lag. The time to loss is how long the server keeps what was logged when the position was."""
        place = Place.of(position)
        db = self._db()
        try:
            files, end = server.files(db), server.head(db)
            now = float(db.rows("SELECT UNIX_TIMESTAMP(NOW(6))")[0][0])
            keeps = seconds_kept(db)
        finally:
            db.close()
        if place.behind(end):
            return Lag(bytes=0, seconds=0.0)
        known = place.file in files
        left = sum(size for name, size in files.items() if Place(name, 0).number > place.number)
        unread = left + files[place.file] - place.pos if known else None
        age = max(0.0, now - place.seconds) if place.seconds else None
        loss = None if not keeps or age is None else max(0.0, keeps - age)
        return Lag(bytes=unread, seconds=age, until_loss=loss if known else 0.0)

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        db = self._db()
        try:
            return examined(db, self._datasets.values(), self._stored())
        finally:
            db.close()

    def unsent(self, dataset: str) -> Unsent | None:
        """See Log.unsent. Sessions may have another `binlog_row_image` than the server gives new ones."""
        db = self._db()
        try:
            return unsent(db, self._datasets[dataset])
        finally:
            db.close()

    def filled(self, dataset: str, columns: Sequence[str], *, renamed: bool) -> bool:
        """See Log.filled. Where a value is not found in a few seconds there may be one."""
        db = self._db()
        try:
            info = catalog.find(db, dataset)
            there = [column for column in info.columns if column.name in columns] if info is not None else []
            given = [
                one.name
                for one in there
                if renamed or not one.nullable or one.default not in (None, "NULL") or one.extra
            ]
            some = " OR ".join(f"{quoted(name)} IS NOT NULL" for name in given)
            if info is None or not some or not db.is_mariadb:
                return bool(some)
            limit = f"SET STATEMENT max_statement_time = {_SEARCH} FOR "
            table = f"{quoted(info.schema)}.{quoted(info.table)}"
            return bool(db.rows(f"{limit}SELECT EXISTS (SELECT 1 FROM {table} WHERE {some})")[0][0])
        except ConnectorError as error:
            if isinstance(error, ConnectError):
                raise
            return True
        finally:
            db.close()

    def resnapshot(self, dataset: str) -> None:
        """See Log.resnapshot. The reader reads the table by key in pieces, each in a consistent snapshot whose place in
        the log MariaDB tells: the piece comes exactly there."""
        if dataset not in self._datasets:
            raise InvalidPlanError(f"{dataset!r} is not followed", hint=f"followed are: {', '.join(self._datasets)}")
        db = self._db()
        try:
            if not db.is_mariadb:
                raise InvalidPlanError(
                    f"{dataset!r} cannot be read again while the log is followed: this server does not tell which "
                    "place of its log a snapshot belongs to", hint="sync the table in full",
                )  # fmt: skip
        finally:
            db.close()
        if not self._source.can_resume(self._datasets[dataset]):
            raise InvalidPlanError(f"{dataset!r} has no key that it could be read by", hint="sync the table in full")
        self._again.ask(dataset)

    def forget(self) -> None:
        """See Log.forget."""
        with self._lock:
            self._place = None
            if self._begun is not None:
                self._begun.unlink(missing_ok=True)
            self._shapes.forget()
            self._again.forget()

    def _db(self) -> MysqlDb:
        db = MysqlDb(self._settings, reading=True)
        db.run("SET autocommit = 1")
        return db

    def _stored(self) -> Place | None:
        if self._place is None and self._begun is not None and self._begun.exists():
            self._place = Place.of(json.loads(self._begun.read_text(encoding="utf-8")))
        return self._place

    def _store(self, place: Place) -> None:
        self._place = place
        if self._begun is None:
            return
        lasting.make_folder(self._begun.parent)
        lasting.put(self._begun, json.dumps(place.position).encode())
