"""Writes MongoDB: documents by key, replaced generations by rename, positions in the transaction of the documents."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from tongqu.connectors.mongodb import keyed, shapes
from tongqu.connectors.mongodb.collection import ID, collections
from tongqu.connectors.mongodb.db import ConflictError, MongodbDb, end_others
from tongqu.connectors.mongodb.failing import told
from tongqu.connectors.mongodb.ledger import MongodbLedger
from tongqu.connectors.mongodb.merging import merged
from tongqu.connectors.mongodb.reach import Reach
from tongqu.connectors.mongodb.session import MongodbSession
from tongqu.connectors.mongodb.settings import MongodbSettings
from tongqu.connectors.mongodb.target import Form, place, unique_on
from tongqu.core.data import Counts, Deletes, Opened, Position, Split, Started, Write, WriteMode, Written
from tongqu.core.errors import ConnectError, InvalidPlanError, PrivilegeError, SchemaError
from tongqu.kit.db import Db
from tongqu.kit.ledger import PREFIX
from tongqu.kit.originals import schema_of, shape_of
from tongqu.kit.sql.landing import DELETED, Landing, Target
from tongqu.kit.sql.sink import SqlSink
from tongqu.meaning.settling import Alterations

T = TypeVar("T")
_TRIES = 30
_PAUSE = 0.1
_COPIED = ("validator", "validationLevel", "validationAction", "collation", "capped", "size", "max", "storageEngine")


class MongodbSink(SqlSink):
    """The state machine of SQL sinks over documents; collections are made, renamed and dropped outside of transactions,
    as all servers can."""

    ddl_commits: ClassVar[bool] = True
    columns_fold: ClassVar[bool] = False

    def __init__(self, settings: MongodbSettings):
        super().__init__()
        self._settings = settings
        self._reach = Reach(settings)
        self._forms: dict[str, Form] = {}
        self._loaded: dict[str, int] = {}
        self._shapes = threading.RLock()

    def connect(self) -> Db:
        """See SqlSystem.connect."""
        return MongodbDb(self._reach)

    def ledger(self, db: Db) -> MongodbLedger:
        """See SqlSink.ledger."""
        return MongodbLedger(_own(db))

    def modes(self) -> tuple[WriteMode, ...]:
        """See Sink.modes."""
        return (WriteMode.APPEND, WriteMode.UPSERT, WriteMode.REPLACE)

    def preview(self, write: Write) -> Sequence[str]:
        """See Sink.preview: there are no statements to show."""
        del write
        return ()

    def undo(self, dataset: str) -> int:
        """See Sink.undo: renaming keeps no generation."""
        raise InvalidPlanError(f"MongoDB keeps no generation of {dataset!r} that could be put back")

    def check(self) -> Iterator[str]:
        """See Sink.check."""
        yield from self._reach.stages()
        yield "transactions" if self._reach.transactional else "transactions: none, rows are written by their _id"
        probe = self._reach.database()[f"{PREFIX}check"]
        try:
            with told(self._reach.where):
                probe.insert_one({})
                probe.drop()
        except PrivilegeError as error:
            raise PrivilegeError(error.message, path=self._reach.where, hint="grant the role readWrite") from None
        yield "privilege"

    # ---- conflicts: MongoDB gives a transaction up where SQL would wait

    def start(self, sync: str, run: str, restart: bool) -> Started:
        """See Sink.start. Transactions that a process which died left open are ended first."""
        own = _own(self.control())
        if own.transactional:
            end_others(own, sync)
        return _again(lambda: super(MongodbSink, self).start(sync, run, restart))

    def open(self, write: Write) -> Opened:
        """See Sink.open."""
        if write.mode not in self.modes():
            raise InvalidPlanError(
                f"MongoDB cannot be written by {write.mode.value}",
                path=write.stream,
                hint="use append, upsert or replace",
            )
        opened = _again(lambda: super(MongodbSink, self).open(write))
        _own(self.control()).register(write.sync)
        return opened

    def begin(self, write: Write, splits: Sequence[Split]) -> None:
        """See Sink.begin."""
        _again(lambda: super(MongodbSink, self).begin(write, splits))

    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """See Sink.finish."""
        self._loaded[write.stream] = counts.inserted
        return _again(lambda: super(MongodbSink, self).finish(write, counts, position))

    def end(self, sync: str, run: str, streams: Sequence[Write]) -> None:
        """See Sink.end."""
        _again(lambda: super(MongodbSink, self).end(sync, run, streams))

    def reopen(self, write: Write) -> Opened:
        """See Sink.reopen. The server that takes writes may be another one by now."""
        self._reach.forget()
        return _again(lambda: super(MongodbSink, self).reopen(write))

    def session(self, write: Write, split: Split) -> MongodbSession:
        """See Sink.session."""
        return MongodbSession(self, self.landing(write), split)

    def close(self) -> None:
        """See Sink.close."""
        super().close()
        self._reach.forget()

    # ---- collections

    def has_table(self, db: Db, name: str) -> bool:
        """See SqlSystem.has_table."""
        with told(self._reach.where):
            return name in _own(db).database.list_collection_names(filter={"name": name})

    def target(self, db: Db, name: str) -> Target | None:
        """See SqlSystem.target. The columns of a collection that others made are those of a sample."""
        own = _own(db)
        if not self.has_table(db, name):
            return None
        with told(self._reach.where):
            known = shapes.recall(own.database, name)
            (info,) = own.database.list_collections(filter={"name": name})
            if info.get("type") == "view":
                raise SchemaError(f"{name!r} is a view, which cannot be loaded", path=name, hint="name a collection")
            schema, key = (known.schema, known.key) if known else (self._sampled(own, name), (ID,))
            indexes = list(own.database[name].list_indexes())
        unique = tuple(tuple(one["key"]) for one in indexes if one.get("unique"))
        columns = {field.name: shape_of(pa.schema([field])) for field in schema}
        return Target(columns=columns, key=key, unique=unique, written=tuple(columns))

    def _sampled(self, own: MongodbDb, name: str) -> pa.Schema:
        size = self._settings.sample
        parts = own.database[name].find_raw_batches({}, limit=size, batch_size=size)
        data = b"".join(bytes(part) for part in parts)
        return collections(name, data, None, "columns", strict=False, rows=0)[0].schema

    def create_target(self, db: Db, landing: Landing) -> None:
        """See SqlSystem.create_target."""
        self._create(_own(db), landing, landing.write.dataset.name, {})

    def _create(self, own: MongodbDb, landing: Landing, name: str, options: Mapping[str, Any]) -> None:
        from pymongo.errors import CollectionInvalid

        write = landing.write
        with told(self._reach.where):
            with suppress(CollectionInvalid):  # another process was quicker
                own.database.create_collection(name, **options)
            shapes.note(own.database, name, write.dataset.schema, write.key)
            for index in write.dataset.indexes if write.indexes else ():
                if set(index.columns) <= set(write.dataset.columns) and index.columns != write.key:
                    own.database[name].create_index([(column, 1) for column in index.columns], unique=index.unique)

    def field(self, name: str, native: str) -> pa.Field[Any]:
        """See SqlSystem.field."""
        return schema_of(native).field(0).with_name(name)

    def same_type(self, db: Db, native: str, field: pa.Field[Any]) -> bool:
        """See SqlSystem.same_type."""
        del db
        return bool(schema_of(native).field(0).type == field.type)

    def add_columns(self, db: Db, landing: Landing, fields: Sequence[pa.Field[Any]]) -> None:
        """See SqlSystem.add_columns: documents take new fields, only the shape is noted."""
        self._reshape(_own(db), landing.write.dataset.name, lambda schema: [*schema, *fields])

    def alter(self, db: Db, name: str, alterations: Alterations) -> None:
        """See SqlSystem.alter. Wider types are noted; values stay as they are and are read as the wider type."""
        own = _own(db)
        if alterations.renames:
            with told(self._reach.where):
                own.database[name].update_many({}, {"$rename": dict(alterations.renames)})
        self._reshape(own, name, lambda schema: [_altered(field, alterations) for field in schema])

    def _reshape(self, own: MongodbDb, name: str, change: Callable[[pa.Schema], list[pa.Field[Any]]]) -> None:
        with self._shapes, told(self._reach.where):
            known = shapes.recall(own.database, name)
            if known is not None:
                shapes.note(own.database, name, pa.schema(change(known.schema)), known.key)

    def create_stage(self, db: Db, landing: Landing) -> None:
        """See SqlSystem.create_stage: with the options and indexes of the target that it will replace."""
        own, write = _own(db), landing.write
        self.drop(db, landing.stage)
        options: dict[str, Any] = {}
        indexes: list[Mapping[str, Any]] = []
        if write.mode is WriteMode.REPLACE and landing.target is not None:
            with told(self._reach.where):
                (info,) = own.database.list_collections(filter={"name": write.dataset.name})
                options = {name: info["options"][name] for name in _COPIED if name in info.get("options", {})}
                indexes = [one for one in own.database[write.dataset.name].list_indexes() if one["name"] != "_id_"]
        self._create(own, landing, landing.stage, options)
        with told(self._reach.where):
            for one in indexes:
                more = {name: value for name, value in one.items() if name not in ("v", "key", "ns")}
                own.database[landing.stage].create_index(list(one["key"].items()), **more)

    def drop(self, db: Db, name: str) -> None:
        """See SqlSystem.drop."""
        own = _own(db)
        with told(self._reach.where):
            own.database[name].drop()
            shapes.forget(own.database, name)

    def create_chunk(self, db: Db, landing: Landing) -> None:
        """See SqlSystem.create_chunk: rows are merged as they are sent."""

    def places(self, db: Db, landing: Landing) -> tuple[str, str, str]:
        """See Quarantining.places."""
        del db
        return landing.write.dataset.name, landing.into, landing.stage

    # ---- rows

    def form(self, landing: Landing) -> Form:
        """How the rows of a stream become documents. Raises SchemaError if the key does not tell documents apart."""
        write = landing.write
        known = self._forms.get(write.stream)
        if known is not None and known.key == write.key:
            return known
        own = _own(self.control())
        with told(self._reach.where):
            shape = shapes.recall(own.database, write.dataset.name)
            indexes = list(own.database[write.dataset.name].list_indexes()) if landing.merges else []
        ours = landing.target is None or (landing.staged and write.mode is WriteMode.REPLACE)
        by_id = ours or write.key == (ID,) or (shape is not None and shape.key == write.key)
        if landing.merges and not by_id and not unique_on(indexes, write.key):
            raise SchemaError(
                f"the target {write.dataset.name!r} has no unique index on {', '.join(write.key)}", path=write.stream,
                hint=f"make one: createIndex of {', '.join(write.key)} with unique: true",
            )  # fmt: skip
        marks = write.deletes is Deletes.SOFT or (shape is not None and DELETED in shape.schema.names)
        form = Form(self._settings, write.key, by_id, marks and write.mode is WriteMode.UPSERT and not landing.staged)
        self._forms[write.stream] = form
        return form

    def load(self, db: Db, landing: Landing, rows: pa.Table) -> int:
        """See SqlSystem.load; the session writes by itself."""
        raise InvalidPlanError(f"{landing.into} takes no {rows.num_rows} rows by {db}")

    def older(self, db: MongodbDb, landing: Landing, rows: pa.Table) -> list[int]:
        """The rows that are older, by the cursor, than the target's of the same key."""
        cursor = landing.write.cursor
        if cursor is None or cursor not in rows.column_names:
            return []
        return keyed.older(db, place(landing), self.form(landing), cursor, rows)

    def take_out(self, db: MongodbDb, landing: Landing, rows: pa.Table, *, soft: bool) -> int:
        """Delete or mark the documents of these keys; how many there were."""
        if rows.num_rows == 0:
            return 0
        form = self.form(landing)
        which = form.which(form.last_of_each(rows))
        if not soft:
            return keyed.delete(db, place(landing), which)
        self._mark(db, landing)
        return keyed.mark(db, place(landing), which, self._instant(landing.write))

    def _mark(self, db: MongodbDb, landing: Landing) -> None:
        """Note the column of soft deletes."""
        field = pa.field(DELETED, pa.timestamp("ms", "UTC"))
        name = landing.write.dataset.name
        self._reshape(db, name, lambda schema: [*schema, *([] if DELETED in schema.names else [field])])

    def _instant(self, write: Write) -> datetime:
        return datetime.fromisoformat(write.started_at or self.now()).astimezone(UTC).replace(tzinfo=None)

    def removes(self, write: Write) -> bool:
        """See Sink.removes."""
        return write.mode is WriteMode.UPSERT

    # ---- generations

    def merge(self, db: Db, landing: Landing, source: str) -> Written:
        """See SqlSystem.merge. Not in a transaction: each step can be done again, and the counts are noted before."""
        own = _own(db)
        soft = landing.write.deletes is Deletes.SOFT
        if soft:
            self._mark(own, landing)
        form = self.form(landing)
        if not form.by_id:
            raise InvalidPlanError(
                f"{landing.write.dataset.name!r} was made by others: a whole generation can replace it, not be merged",
                path=landing.write.stream, hint="use --write replace, or changes only (--mode incremental)",
            )  # fmt: skip
        shape = shapes.recall(own.database, landing.write.dataset.name)
        marked = soft or (shape is not None and DELETED in shape.schema.names)
        with told(self._reach.where):
            return merged(own.database, landing, source, self._loaded[landing.write.stream], marked=marked,
                          at=self._instant(landing.write))  # fmt: skip

    def append_stage(self, db: Db, landing: Landing) -> int:
        """See SqlSystem.append_stage. Done twice it is done once, since `_id` stay."""
        own = _own(db)
        with told(self._reach.where):
            rows = own.database[landing.stage].count_documents({})
            into = {"into": landing.write.dataset.name, "on": ID, "whenMatched": "replace", "whenNotMatched": "insert"}
            own.database[landing.stage].aggregate([{"$merge": into}])
        return int(rows)

    def publish(self, db: Db, landing: Landing) -> Written | None:
        """See SqlSystem.publish: one rename, which drops the generation before."""
        own, name = _own(db), landing.write.dataset.name
        with told(self._reach.where):
            known = shapes.recall(own.database, landing.stage)
            own.database[landing.stage].rename(name, dropTarget=True)
            if known is not None:
                shapes.note(own.database, name, known.schema, known.key)
                shapes.forget(own.database, landing.stage)
        return None


def _own(db: Db) -> MongodbDb:
    assert isinstance(db, MongodbDb)  # noqa: S101  # this sink makes all its connections itself
    return db


def _altered(field: pa.Field[Any], alterations: Alterations) -> pa.Field[Any]:
    made = alterations.types.get(field.name, field)
    name = alterations.renames.get(field.name, field.name)
    made = alterations.types.get(name, made)
    return made.with_name(name).with_nullable(made.nullable or name in alterations.optional)


def _again(work: Callable[[], T]) -> T:
    """Do a short transaction until nobody else is at its documents."""
    for _ in range(_TRIES):
        try:
            return work()
        except ConflictError:
            time.sleep(_PAUSE)
    try:
        return work()
    except ConflictError as error:
        raise ConnectError(error.message, path=error.path, hint=error.hint) from None
