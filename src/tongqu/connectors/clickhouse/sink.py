"""Writes ClickHouse: blocks that can be inserted again, tables that are exchanged whole; the ledger is at home."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.clickhouse.db import Books, ClickhouseDb
from tongqu.connectors.clickhouse.dialect import bare
from tongqu.connectors.clickhouse.reach import ClickhouseReach
from tongqu.connectors.clickhouse.settings import ClickhouseSettings
from tongqu.core.data import Checkpoint, Opened, Split, Write, WriteMode, Written
from tongqu.core.errors import CastError, InvalidPlanError, PrivilegeError, SchemaError
from tongqu.kit.db import Db
from tongqu.kit.ledger import CHECKPOINT, PREFIX, Ledger
from tongqu.kit.quarantine import QUARANTINE
from tongqu.kit.sql.landing import Landing, Target, previous_name
from tongqu.kit.sql.session import SqlSession
from tongqu.kit.sql.sink import SqlSink
from tongqu.kit.tables.catalogue import Catalogue
from tongqu.kit.tables.values import fit
from tongqu.meaning.settling import Alterations

_UUIDS = "_tongqu_exchanging"
_DAYS = {"Date32": (-25567, 120529), "DateTime64": (-25567, 120529), "Date": (0, 65535), "DateTime": (0, 49709)}
"""First and last day in days since 1970: 1900 to 2299, and what fits into 16 bits or 32 bits of seconds."""
_MICROS = 86_400_000_000


class ClickhouseSink(SqlSink):
    """Append is at-least-once: a block whose checkpoint was lost is inserted again, and left out by servers from 22.2
    on if nothing in it has changed. A replaced generation appears by one EXCHANGE TABLES, or one RENAME on old servers.

    Positions, counts and quarantined rows are in a database of the project's home: the server has no transactions that
    they could be committed in.
    """

    ddl_commits: ClassVar[bool] = True
    columns_fold: ClassVar[bool] = False

    def __init__(self, settings: ClickhouseSettings):
        super().__init__()
        self._settings = settings
        self._folder: Path | None = None

    def lodge(self, folder: Path) -> None:
        """See Sink.lodge."""
        self._folder = folder

    def modes(self) -> tuple[WriteMode, ...]:
        """See Sink.modes."""
        return (WriteMode.APPEND, WriteMode.REPLACE)

    def removes(self, write: Write) -> bool:
        """See Sink.removes."""
        del write
        return False

    def connect(self) -> Db:
        """See SqlSystem.connect."""
        if self._folder is None:
            raise InvalidPlanError(
                "this ClickHouse sink has no folder for its ledger, so it writes nothing",
                hint="run it through a project's home (TONGQU_HOME), or call lodge(folder) first",
            )
        return ClickhouseReach(self._settings, self._folder).connect(reading=False)

    def _catalogue(self, db: Db) -> Catalogue:
        return ClickhouseReach(self._settings).catalogue(_own(db))

    def ledger(self, db: Db) -> Ledger:
        """See SqlSink.ledger."""
        return Ledger(_books(db))

    def check(self) -> Iterator[str]:
        """See Sink.check."""
        yield from ClickhouseReach(self._settings).stages()
        db = _own(self.control())
        yield "tls: not used" if self._settings.tls == "disable" else f"tls: {self._settings.tls}"
        yield "login"
        probe = self._place(db, f"{PREFIX}check")
        try:
            db.say([f"DROP TABLE IF EXISTS {probe}", f"CREATE TABLE {probe} (a Int8) ENGINE = Memory"])
            db.say([f"DROP TABLE {probe}"])
        except PrivilegeError as error:
            hint = "GRANT CREATE TABLE, DROP TABLE, ALTER, SELECT, INSERT"
            raise PrivilegeError(error.message, path=db.where, hint=hint) from None
        yield "privilege"

    def open(self, write: Write) -> Opened:
        """See Sink.open. Merging by key is refused: ReplacingMergeTree merges some time later, and until then both rows
        are there."""
        if write.mode not in self.modes():
            raise InvalidPlanError(
                f"ClickHouse cannot be written by {write.mode.value}: it merges rows of one key some time later",
                path=write.stream,
                hint="use --write replace, or --write append and read with the last row of each key",
            )
        return super().open(write)

    def session(self, write: Write, split: Split) -> ClickhouseSession:
        """See Sink.session."""
        return ClickhouseSession(self, self.landing(write), split)

    # ---- tables

    def _place(self, db: Db, name: str) -> str:
        own = _own(db)
        return own.dialect.place(*self._catalogue(own).place(name))

    def has_table(self, db: Db, name: str) -> bool:
        """See SqlSystem.has_table. The ledger's are at home."""
        return name in (CHECKPOINT, QUARANTINE) or self._catalogue(db).exists(name)

    def target(self, db: Db, name: str) -> Target | None:
        """See SqlSystem.target."""
        found = self._catalogue(db).find(name)
        if found is None:
            return None
        if found.view:
            raise SchemaError(f"{name!r} is a view, which cannot be loaded", path=name, hint="name a table")
        return Target(
            columns={column.name: column.native for column in found.columns},
            written=tuple(column.name for column in found.columns if column.generated is None),
        )

    def field(self, name: str, native: str) -> pa.Field[Any]:
        """See SqlSystem.field."""
        return _own(self.control()).dialect.field(name, native)

    def same_type(self, db: Db, native: str, field: pa.Field[Any]) -> bool:
        """See SqlSystem.same_type."""
        dialect = _own(db).dialect
        return dialect.same_type(native, dialect.column_type(field, key=False))

    def _definition(self, db: Db, field: pa.Field[Any], *, nullable: bool) -> str:
        native = _own(db).dialect.column_type(field, key=False)
        whole = nullable and not native.startswith(("Nullable", "LowCardinality", "Array", "Map", "Tuple"))
        return f"{db.quote(field.name)} {f'Nullable({native})' if whole else native}"

    def create_target(self, db: Db, landing: Landing) -> None:
        """See SqlSystem.create_target."""
        self._create(db, landing, landing.write.dataset.name)

    def _create(self, db: Db, landing: Landing, name: str) -> None:
        write = landing.write
        columns = [
            self._definition(db, f, nullable=f.nullable and f.name not in write.key) for f in write.dataset.schema
        ]
        order = ", ".join(map(db.quote, write.key))
        modern = _own(db).dialect.version >= (22, 2)
        known = " SETTINGS non_replicated_deduplication_window = 10000" if modern else ""
        _own(db).say([
            f"CREATE TABLE {self._place(db, name)} ({', '.join(columns)}) ENGINE = MergeTree() "
            f"ORDER BY {f'({order})' if order else 'tuple()'}{known}"
        ])  # fmt: skip

    def add_columns(self, db: Db, landing: Landing, fields: Sequence[pa.Field[Any]]) -> None:
        """See SqlSystem.add_columns."""
        self._add(db, landing.write.dataset.name, fields)

    def _add(self, db: Db, name: str, fields: Sequence[pa.Field[Any]]) -> None:
        for field in fields:
            definition = self._definition(db, field, nullable=True)
            _own(db).say([f"ALTER TABLE {self._place(db, name)} ADD COLUMN {definition}"])

    def alter(self, db: Db, name: str, alterations: Alterations) -> None:
        """See SqlSystem.alter. A column that may be null from now on changes its type."""
        own, table = _own(db), f"ALTER TABLE {self._place(db, name)}"
        for old, new in alterations.renames.items():
            own.say([f"{table} RENAME COLUMN {db.quote(old)} TO {db.quote(new)}"])
        found = self._catalogue(db).find(name) if alterations else None
        for column in dict.fromkeys((*alterations.types, *alterations.optional)):
            now = found.column(column) if found else None
            native = now.native if now else "String"
            if column in alterations.types:
                native = own.dialect.column_type(alterations.types[column], key=False)
            if column in alterations.optional or (now is not None and now.nullable):
                native = f"Nullable({bare(native)})"
            own.say([f"{table} MODIFY COLUMN {db.quote(column)} {native}"])

    def create_stage(self, db: Db, landing: Landing) -> None:
        """See SqlSystem.create_stage."""
        own, stage = _own(db), self._place(db, landing.stage)
        own.say([f"DROP TABLE IF EXISTS {stage}"])
        if landing.target is None or landing.write.mode is not WriteMode.REPLACE or landing.rekeyed:
            self._create(db, landing, landing.stage)
            return
        own.say([f"CREATE TABLE {stage} AS {self._place(db, landing.write.dataset.name)}"])
        self.alter(db, landing.stage, landing.alterations)
        self._add(db, landing.stage, [landing.write.dataset.schema.field(name) for name in landing.missing])

    def drop(self, db: Db, name: str) -> None:
        """See SqlSystem.drop."""
        _own(db).say([f"DROP TABLE IF EXISTS {self._place(db, name)}"])

    def create_chunk(self, db: Db, landing: Landing) -> None:
        """See SqlSystem.create_chunk: there are none, since nothing is merged."""

    def merge(self, db: Db, landing: Landing, source: str) -> Written:
        """See SqlSystem.merge; never asked for, since `open` refuses it."""
        raise InvalidPlanError(f"{source} cannot be merged into {landing.write.dataset.name!r} over {db}")

    def places(self, db: Db, landing: Landing) -> tuple[str, str, str]:
        """See Quarantining.places."""
        target = self._place(db, landing.write.dataset.name)
        return target, target, self._place(db, landing.stage)

    # ---- rows

    def load(self, db: Db, landing: Landing, rows: pa.Table) -> int:
        """See SqlSystem.load: one block, which is inserted as a whole or not at all."""
        own = _own(db)
        names = [name for name in rows.column_names if landing.target is None or name not in landing.target.columns
                 or name in landing.target.written]  # fmt: skip
        types = landing.types
        columns = [values(rows.column(name), own.dialect.field(name, types[name]), types[name]) for name in names]
        own.loads += 1  # halves of a refused block may hold the same rows, and each of them counts
        digest = hashlib.sha256(f"{own.token}\0{own.loads}".encode())
        for column in rows.select(names).combine_chunks().columns:
            digest.update(repr((column.type, column.to_pylist())).encode())
        own.put(self._place(db, landing.into), list(map(own.quote, names)), columns, digest.hexdigest())
        return rows.num_rows

    def append_stage(self, db: Db, landing: Landing) -> int:
        """See SqlSystem.append_stage."""
        own, stage = _own(db), self._place(db, landing.stage)
        names = ", ".join(map(own.quote, landing.write.dataset.columns))
        rows = own.count(stage)
        own.say([f"INSERT INTO {self._place(db, landing.write.dataset.name)} ({names}) SELECT {names} FROM {stage}"])
        return rows

    # ---- generations

    def publish(self, db: Db, landing: Landing) -> Written | None:
        """See SqlSystem.publish."""
        own, name = _own(db), landing.write.dataset.name
        target, stage, kept = (self._place(db, one) for one in (name, landing.stage, landing.previous))
        if not self._catalogue(db).exists(name):
            own.say([f"RENAME TABLE {stage} TO {target}"])
        elif self._exchanges(own):
            if not self._exchanged(own, name, landing.stage):
                own.say([f"EXCHANGE TABLES {target} AND {stage}"])
            own.say([f"DROP TABLE IF EXISTS {kept}", f"RENAME TABLE {stage} TO {kept}"])
        else:
            own.say([f"DROP TABLE IF EXISTS {kept}", f"RENAME TABLE {target} TO {kept}, {stage} TO {target}"])
        return None

    def _exchanges(self, db: ClickhouseDb) -> bool:
        """Whether the database's engine exchanges tables at once."""
        if db.dialect.version < (21, 1):
            return False
        found = db.rows("SELECT engine FROM system.databases WHERE name = ?", (self._settings.database,))
        return bool(found) and found[0][0] in ("Atomic", "Replicated", "Shared")

    def _exchanged(self, db: ClickhouseDb, name: str, stage: str) -> bool:
        """Whether an attempt that was cut off has exchanged the tables already; notes at home which one comes in."""
        books = _books(db)
        identity = "SELECT toString(uuid) FROM system.tables WHERE database = ? AND name = ?"
        now, next_ = (db.rows(identity, self._catalogue(db).place(one))[0][0] for one in (name, stage))
        books.run(f"CREATE TABLE IF NOT EXISTS {_UUIDS} (stage TEXT PRIMARY KEY, uuid TEXT)")
        found = books.rows(f"SELECT uuid FROM {_UUIDS} WHERE stage = ?", (stage,))
        if found and found[0][0] == now:
            return True
        books.run(f"INSERT OR REPLACE INTO {_UUIDS} VALUES (?, ?)", (stage, next_))
        books.commit()
        return False

    def put_back(self, db: Db, name: str) -> int:
        """See SqlSystem.put_back."""
        own = _own(db)
        target, kept, aside = (self._place(db, one) for one in (name, previous_name(name), f"{PREFIX}undo_{name}"))
        if not self._catalogue(db).exists(name):
            own.say([f"RENAME TABLE {kept} TO {target}"])
        elif self._exchanges(own):
            own.say([f"EXCHANGE TABLES {target} AND {kept}"])
        else:
            own.say([f"RENAME TABLE {target} TO {aside}, {kept} TO {target}, {aside} TO {kept}"])
        return own.count(target)


def _own(db: Db) -> ClickhouseDb:
    """A connection of this sink, which makes them all itself."""
    assert isinstance(db, ClickhouseDb)  # noqa: S101  # for the type checker
    return db


def _books(db: Db) -> Books:
    """The ledger's database at home, which every connection of a sink has."""
    books = _own(db).books
    assert books is not None  # noqa: S101  # for the type checker
    return books


class ClickhouseSession(SqlSession):
    """Writes one split; names its blocks by where the split stands, so that one which comes again is known."""

    def __init__(self, sink: ClickhouseSink, landing: Landing, split: Split):
        super().__init__(sink, landing, split)
        self._ledger = sink.ledger
        self._blocks = 0
        self._position: str | None = None

    def write(self, rows: pa.Table) -> Written:
        """See Session.write."""
        db = _own(self._db())
        write = self._landing.write
        if self._position is None:
            head = self._ledger(db).head(write.sync, write.stream, self._split.id)
            db.rollback()
            self._position = json.dumps(head.position if head else None, sort_keys=True)
        self._blocks += 1
        db.loads = 0
        db.token = "\0".join((write.sync, write.run, write.stream, self._split.id, self._position, str(self._blocks)))
        return super().write(rows)

    def commit(self, checkpoint: Checkpoint) -> None:
        """See Session.commit."""
        super().commit(checkpoint)
        self._position, self._blocks = None, 0

    def abort(self) -> None:
        """See Session.abort. What comes again is named as it was."""
        super().abort()
        self._position, self._blocks = None, 0


def values(column: pa.ChunkedArray[Any], field: pa.Field[Any], native: str) -> list[Any]:
    """The values of a column as the driver takes them; raises CastError for what the type does not hold."""
    plain, kind = bare(native), field.type
    if plain == "String" and pa.types.is_binary(column.type):
        return column.to_pylist()
    array = fit(column, kind, field.name, zoneless=True) if not _local(column.type, kind) else _as_utc(column, kind)
    if array.null_count and native == plain:
        raise CastError(f"{field.name}: null, and the column is {native}", field=field.name)
    _within(array, plain, field.name)
    if pa.types.is_decimal(kind):
        return [None if v is None else Decimal(v) for v in array.to_pylist()]
    if plain == "UUID":
        return [None if v is None else UUID(v) for v in array.to_pylist()]
    if word(plain) in ("String", "FixedString"):
        array = array.cast(pa.binary())
    return array.to_pylist()


def word(native: str) -> str:
    """A type's name without what stands in parentheses."""
    return native.partition("(")[0]


def _local(given: pa.DataType, wanted: pa.DataType) -> bool:
    return pa.types.is_timestamp(given) and pa.types.is_timestamp(wanted) and not given.tz and bool(wanted.tz)


def _as_utc(column: pa.ChunkedArray[Any], wanted: pa.TimestampType[Any, Any]) -> pa.Array[Any]:
    """Moments without zone: ClickHouse has none, they are kept as if they were UTC."""
    array: Any = column.combine_chunks()
    unit = pa.timestamp(wanted.unit)
    try:
        done: pa.Array[Any] = array.cast(unit).cast(pa.int64()).cast(wanted)
    except pa.ArrowInvalid as error:
        raise CastError(str(error)) from None
    return done


def _within(array: pa.Array[Any], native: str, name: str) -> None:
    """Raise CastError for a date or moment outside of the type, which the server would move into it without a word."""
    kind = word(native)
    if kind not in _DAYS:
        return
    factor = {"DateTime64": _MICROS, "DateTime": 86_400}.get(kind, 1)
    first, last = _DAYS[kind]
    numbers: Any = array.cast(pa.int32() if pa.types.is_date(array.type) else pa.int64())
    bounds: Any = pc.min_max(numbers).as_py()
    if bounds["min"] is not None and (bounds["min"] < first * factor or bounds["max"] >= (last + 1) * factor):
        raise CastError(f"{name}: a moment is outside of what {native} holds", field=name)
