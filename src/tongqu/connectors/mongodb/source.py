"""Reads MongoDB: raw batches of BSON into Arrow columns, by ranges of `_id` or along a cursor."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.mongodb import increments, ranges
from tongqu.connectors.mongodb.collection import ID, Collection, Rows, collections
from tongqu.connectors.mongodb.failing import told
from tongqu.connectors.mongodb.reach import Reach
from tongqu.connectors.mongodb.settings import MongodbSettings
from tongqu.connectors.mongodb.shapes import recall
from tongqu.connectors.mongodb.tree import Path
from tongqu.connectors.mongodb.walking import Values
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import NotFoundError, ReadError
from tongqu.core.log import Log
from tongqu.kit.ledger import PREFIX

_SYSTEM = "system."
_FEW = 4
"""A range of at most so many chunks is read in no order, with a position at its end."""


class MongodbSource(Source):
    """Each range of a read is of its own instant: MongoDB shows a cursor what is committed while it runs."""

    def __init__(self, settings: MongodbSettings):
        self._settings = settings
        self._reach = Reach(settings)
        self._known: dict[str, Collection] = {}
        self._uniform: dict[str, bool] = {}
        self._lock = threading.RLock()

    def check(self) -> Iterator[str]:
        """See Source.check."""
        yield from self._reach.stages()
        with told(self._reach.where, reading=True):
            names = self._names()
            yield "privilege"
            for name in names[:1]:
                self._reach.database()[name].find_one({})
        yield f"sample: {len(names)} collections"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        with self._lock, told(self._reach.where, reading=True):
            found: list[Collection] = []
            for name in self._names():
                inside = self._settings.nested == "children" and any(p.startswith(f"{name}.") for p in patterns or ())
                if patterns is None or inside or any(fnmatch.fnmatchcase(name, p) for p in patterns):
                    found += self._look(name)
            taken = {one.name for one in found if not one.inside}
            found = [one for one in found if not one.inside or one.name not in taken]
            if patterns is not None:
                found = [one for one in found if any(fnmatch.fnmatchcase(one.name, p) for p in patterns)]
            self._known.update({one.name: one for one in found})
            return [one.dataset() for one in found]

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits: cut between values of `_id` that the server takes at random."""
        with told(self._reach.where, reading=True):
            own = self._reach.database()[self._collection(dataset.name).source]
            count = dataset.rows if dataset.rows is not None else own.estimated_document_count()
            return ranges.splits(dataset.name, ranges.cuts(own, count), wanted, count)

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """See Source.horizon; `increments.horizon` says how far behind it stays."""
        with told(self._reach.where, reading=True):
            return increments.horizon(
                self._reach.database(), self._collection(dataset.name), cursor, after, ties=ties,
                lag=self._settings.lag_seconds,
            )  # fmt: skip

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        if read.after and read.after.get("end"):
            return
        collection = self._collection(read.dataset.name)
        columns = read.columns or read.dataset.columns
        held: Batch | None = None
        with told(self._reach.where, reading=True):
            batches = self._increment if read.mode is Mode.INCREMENTAL and read.cursor else self._full
            for batch in batches(read, collection, columns):
                if held is not None:
                    yield held
                held = batch
                if read.stop.is_set():
                    break
        schema = pa.schema([collection.schema.field(name) for name in columns])
        ended = Batch(read.dataset.name, pa.RecordBatch.from_pylist([], schema=schema), None) if held is None else held
        if read.stop.is_set():
            yield ended
            return
        last = read.until or {"end": True}
        yield Batch(ended.dataset, ended.rows, last, bad=ended.bad)

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log: a change stream over the collections."""
        from tongqu.connectors.mongodb.log.following import MongodbLog

        return MongodbLog(self._settings, name, [(dataset, self._collection(dataset.name)) for dataset in datasets])

    def close(self) -> None:
        """See Source.close."""
        self._reach.forget()

    # ---- inside

    def _full(self, read: Read, collection: Collection, columns: Sequence[str]) -> Iterator[Batch]:
        small = int(read.split.spec.get("size", 0)) <= read.chunk_rows * _FEW
        in_order = not small and self._one_type(collection.source)
        for one in ranges.ranges(read):
            ordered = in_order or "key" in (read.after or {}) or "key" in (read.until or {})
            last: Batch | None = None
            for rows in self._ask(read, collection, columns, one.condition(), ID if ordered else ""):
                if last is not None:
                    yield last
                key = _text(rows, (ID,), -1) if ordered else None
                position = {"range": one.number, "key": key} if key is not None else None
                last = Batch(read.dataset.name, rows.batch(columns, collection.schema), position, bad=rows.bad)
                if read.stop.is_set():
                    yield last
                    return
            if last is not None:
                position = {"range": one.number + 1} if not one.closed else read.until
                yield Batch(last.dataset, last.rows, position, bad=last.bad)

    def _increment(self, read: Read, collection: Collection, columns: Sequence[str]) -> Iterator[Batch]:
        """Along the cursor where an index gives this order: a batch ends before the value that the next may begin with.
        Otherwise in no order, as one piece."""
        assert read.cursor is not None  # noqa: S101  # the caller looked
        path = collection.paths[read.cursor]
        dotted = ".".join(path)
        condition = increments.condition(read, dotted)
        wanted = list(dict.fromkeys((*columns, read.cursor)))
        in_order = len(path) == 1 and not collection.inside and self._indexed(collection.source, dotted)
        rest: pa.RecordBatch | None = None
        for rows in self._ask(read, collection, wanted, condition, dotted if in_order else ""):
            batch = rows.batch(wanted, collection.schema)
            if not in_order or rows.bad:
                yield Batch(read.dataset.name, _joined(rest, batch).select(list(columns)), None, bad=rows.bad)
                rest = None
                continue
            whole = _joined(rest, batch)
            values = whole.column(read.cursor)
            cut = _same_at_end(values)
            if cut and (before := _text(rows, path, cut - 1 - len(whole))) is not None:
                position = {"cursor": [before]}
                yield Batch(read.dataset.name, whole.slice(0, cut).select(list(columns)), position)
                whole = whole.slice(cut)
            rest = whole
            if read.stop.is_set():
                return
        if rest is not None:
            yield Batch(read.dataset.name, rest.select(list(columns)), None)

    def _ask(
        self, read: Read, collection: Collection, columns: Sequence[str], condition: Mapping[str, Any], order: str
    ) -> Iterator[Rows]:
        """The rows that meet a condition, a batch of the server at a time."""
        own = self._reach.database()[collection.source]
        asked: dict[str, Any] = {"batch_size": read.batch_rows, "projection": collection.projection(columns)}
        if order:
            asked["sort"] = [(order, 1)]
        with own.find_raw_batches(dict(condition), **asked) as cursor:
            for data in cursor:
                try:
                    rows = collection.decode(bytes(data), columns)
                except ValueError as error:
                    raise ReadError(f"the server sent what is no BSON: {error}", path=self._reach.where) from None
                if len(next(iter(rows.places.values())).types):
                    yield rows
                if read.stop.is_set():
                    return

    def _names(self) -> list[str]:
        found = self._reach.database().list_collection_names()
        return sorted(name for name in found if not name.startswith((PREFIX, _SYSTEM)))

    def _look(self, name: str) -> list[Collection]:
        """A collection and what is inside it, by as many documents at random as are sampled; all of a small one."""
        database = self._reach.database()
        own, size = database[name], self._settings.sample
        count = own.estimated_document_count()
        if count > size:
            parts = own.aggregate_raw_batches([{"$sample": {"size": size}}], batchSize=size)
        else:
            parts = own.find_raw_batches({}, batch_size=size)
        data = b"".join(bytes(part) for part in parts)
        strict = self._settings.others == "error"
        return collections(name, data, recall(database, name), self._settings.nested, strict=strict, rows=count)

    def _collection(self, name: str) -> Collection:
        with self._lock:
            if name not in self._known:
                self.datasets([name])
            if name not in self._known:
                near = ", ".join(self._names()[:8])
                raise NotFoundError(
                    f"there is no collection {name!r}", path=self._reach.where, hint=f"there are: {near or 'none'}"
                )
            return self._known[name]

    def _one_type(self, name: str) -> bool:
        """Whether all `_id` are of one type, so that a read in their order can go on after any of them."""
        with self._lock:
            if name not in self._uniform:
                first = self._reach.database()[name].aggregate(
                    [{"$limit": 1}, {"$project": {"type": {"$type": f"${ID}"}}}]
                )
                types = [str(one["type"]) for one in first]
                wanted = ["int", "long", "double", "decimal"] if types and types[0] in _NUMBERS else types
                other = self._reach.database()[name].find_one({ID: {"$not": {"$type": wanted}}}) if types else None
                self._uniform[name] = other is None
            return self._uniform[name]

    def _indexed(self, name: str, path: str) -> bool:
        found = self._reach.database()[name].list_indexes()
        return any(next(iter(one["key"])) == path and "partialFilterExpression" not in one for one in found)


_NUMBERS = ("int", "long", "double", "decimal")


def _text(rows: Rows, path: Path, row: int) -> str | None:
    """The value of a field of the top level in a row counted from the end, as text for a position."""
    values: Values = rows.places[path[0]]
    at = len(values.types) + row
    return ranges.dumped(rows.value(path[0], at)) if at >= 0 else None


def _joined(left: pa.RecordBatch | None, right: pa.RecordBatch) -> pa.RecordBatch:
    if left is None or not left.num_rows:
        return right
    (made,) = pa.Table.from_batches([left, right]).combine_chunks().to_batches()
    return made


def _same_at_end(values: Any) -> int:
    """Where the run of equal values begins that an array ends with."""
    import pyarrow.compute as pc

    if not len(values):
        return 0
    differ = np.asarray(pc.not_equal(values, values[-1]).fill_null(True))
    found = np.flatnonzero(differ)
    return int(found[-1]) + 1 if len(found) else 0
