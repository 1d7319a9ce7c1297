"""One collection, or the documents in one of its arrays, as a dataset: its columns and how documents are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.mongodb import walking
from tongqu.connectors.mongodb.decode import FRACTION, column, value_of
from tongqu.connectors.mongodb.inferring import Fields, Nesting, elements, infer, infer_elements
from tongqu.connectors.mongodb.kinds import Kind, field_of
from tongqu.connectors.mongodb.shapes import Shape
from tongqu.connectors.mongodb.tree import Path, Refusals, Tree, decode
from tongqu.connectors.mongodb.walking import Buffer, Ints, Values
from tongqu.core.data import BadRow, Dataset
from tongqu.kit.formats.json_documents import INDEX, PARENT

ID = "_id"
_STEP = "source"


@dataclass(frozen=True)
class Rows:
    """The rows of some documents: columns, those that are refused, and where each row's document and values stand."""

    columns: dict[str, Any]
    bad: tuple[BadRow, ...]
    good: Any
    """Marks of the rows that are left."""
    places: dict[str, Values]
    buffer: Buffer

    def value(self, name: str, row: int) -> Any:
        """The value of a field of the top level, as an object."""
        values = self.places[name]
        return value_of(self.buffer, int(values.types[row]), int(values.places[row]))

    def batch(self, names: Sequence[str], schema: pa.Schema) -> pa.RecordBatch:
        """The rows that are left, in these columns."""
        wanted = pa.schema([schema.field(name) for name in names])
        made = pa.RecordBatch.from_arrays([self.columns[name] for name in names], schema=wanted)
        return made if self.good is None else made.filter(pa.array(self.good))


@dataclass(frozen=True)
class Collection:
    """How the documents of a collection become rows. `inside` is the array whose elements are the rows, if one is."""

    name: str
    """The dataset's."""
    source: str
    """The collection's."""
    schema: pa.Schema
    key: tuple[str, ...]
    paths: dict[str, Path]
    known: tuple[Path, ...] = ()
    inside: Path = ()
    parent: pa.Field[Any] | None = None
    strict: bool = True
    rows: int = 0

    def dataset(self) -> Dataset:
        """As a dataset."""
        return Dataset(self.name, self.schema, key=self.key, rows=None if self.inside else self.rows)

    def projection(self, names: Sequence[str]) -> dict[str, int] | None:
        """What the server must send for these columns; None for whole documents."""
        if self.inside:
            return {ID: 1, ".".join(self.inside): 1}
        if set(names) >= set(self.schema.names):
            return None
        wanted = {".".join(self.paths[name]): 1 for name in names}
        wanted |= {f"{path}{FRACTION}": 1 for path in list(wanted) if path != ID}
        return {ID: 1} | wanted

    def decode(self, data: bytes, names: Sequence[str]) -> Rows:
        """The rows of documents as the server sent them. Raises ValueError for bytes that are no BSON."""
        buffer = Buffer(data)
        starts = walking.documents(buffer)
        if self.inside:
            return self._elements(buffer, starts, names)
        return self.at(buffer, starts, names, strict=set(names) >= set(self.schema.names))

    def at(self, buffer: Buffer, starts: Ints, names: Sequence[str], *, strict: bool) -> Rows:
        """The rows of documents that begin at these places; `strict` refuses fields that are no column, unless the
        settings leave them out."""
        found = decode(buffer, starts, self._tree(names), self._fields(names), strict=self.strict and strict)
        ids = found.places[ID]
        return Rows(
            found.columns, _bad(buffer, starts, found.refused), _good(found.refused), {ID: ids} | found.places, buffer
        )

    def keys(self, buffer: Buffer, starts: Ints) -> Rows:
        """The key columns of documents of which only `_id` is there, whose value they are."""
        one = len(self.key) == 1
        paths: dict[str, Path] = {name: (ID,) if one else (ID, name.replace(".", "·")) for name in self.key}
        found = decode(buffer, starts, Tree.of(paths), self._fields(self.key), strict=False)
        return Rows(found.columns, _bad(buffer, starts, found.refused), _good(found.refused), found.places, buffer)

    def _elements(self, buffer: Buffer, starts: Ints, names: Sequence[str]) -> Rows:
        assert self.parent is not None  # noqa: S101  # rows of an array have one
        ids = walking.walk(buffer, starts, [ID])[ID]
        holders = starts
        for part in self.inside[:-1]:
            values = walking.walk(buffer, holders, [part])[part]
            holders = np.where(values.types == walking.DOCUMENT, values.places, -1)
        array = walking.walk(buffer, holders, [self.inside[-1]])[self.inside[-1]]
        found = walking.unwound(buffer, array)
        inner = np.where(found.types == walking.DOCUMENT, found.places, -1)
        own = [name for name in names if name in self.paths]
        done = decode(buffer, inner, self._tree(own), self._fields(own), strict=self.strict)
        done.refused.add(inner < 0, ".".join(self.inside), lambda _: "an element that is no document")
        parents = column(buffer, self.parent, ids, None)[0].take(pa.array(found.rows, pa.int64()))
        columns = done.columns | {self.parent.name: parents, INDEX: pa.array(found.indexes + 1, pa.int64())}
        bad = _bad(buffer, starts[found.rows], done.refused)
        return Rows(columns, bad, _good(done.refused), {ID: ids}, buffer)

    def _tree(self, names: Sequence[str]) -> Tree:
        """A tree of its own for each call: a walk learns in it, and several threads read."""
        wanted = {name: self.paths[name] for name in names}
        known: list[Path] = [*self.known, *((*path[:-1], path[-1] + FRACTION) for path in wanted.values())]
        known += [] if (ID,) in wanted.values() else [(ID,)]
        tree = Tree.of(wanted, known)
        tree.order = [ID, *(name for name in tree.order if name != ID)]
        return tree

    def _fields(self, names: Sequence[str]) -> dict[str, pa.Field[Any]]:
        return {name: self.schema.field(name) for name in names}


def _good(refused: Refusals) -> Any:
    return ~refused.marks if refused.rows else None


def _bad(buffer: Buffer, starts: Ints, refused: Refusals) -> tuple[BadRow, ...]:
    """The refused documents as rows for quarantine, their original in MongoDB's JSON."""
    if not refused.rows:
        return ()
    import bson
    from bson import json_util
    from bson.codec_options import CodecOptions, DatetimeConversion

    options: Any = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO, tz_aware=True)
    made = []
    for row, (name, why) in sorted(refused.rows.items()):
        start = int(starts[row])
        size = int.from_bytes(buffer.cut(start, start + 4), "little")
        document = bson.decode(buffer.cut(start, start + size), options)
        original = json_util.dumps(document, json_options=json_util.RELAXED_JSON_OPTIONS, ensure_ascii=False)
        code = "schema.column" if "did not have" in why else "cast.invalid"
        value = document.get(name.partition(".")[0])
        made.append(BadRow(_STEP, code, name, None if value is None else str(value)[:200], original, f"{name}: {why}"))
    return tuple(made)


def collections(
    name: str, sample: bytes, shape: Shape | None, nested: Nesting, *, strict: bool, rows: int
) -> list[Collection]:
    """A collection and the arrays of it that are datasets, by a sample of its documents and what is known of it."""
    buffer = Buffer(sample)
    starts = walking.documents(buffer)
    if shape is not None:
        return [_written(name, buffer, starts, shape, strict=strict, rows=rows)]
    found = infer(buffer, starts, nested) if len(starts) else _empty()
    whole = Collection(
        name, name, pa.schema(found.schema), (ID,), found.paths, tuple(found.arrays), strict=strict, rows=rows
    )
    made = [whole]
    for path in found.arrays:
        made.append(_array(whole, buffer, starts, path))
    return made


def _array(whole: Collection, buffer: Buffer, starts: Ints, path: Path) -> Collection:
    found = infer_elements(buffer, elements(buffer, starts, path))
    parent = whole.schema.field(ID).with_name(PARENT + ID)
    index = pa.field(INDEX, pa.int64(), nullable=False)
    schema = pa.schema([parent, index, *found.schema])
    name = f"{whole.name}.{'.'.join(path)}"
    return Collection(
        name, whole.source, schema, (parent.name, INDEX), found.paths, (), path, parent, strict=whole.strict
    )


def _written(name: str, buffer: Buffer, starts: Ints, shape: Shape, *, strict: bool, rows: int) -> Collection:
    """A collection that Tongqu wrote: its columns as they were, and what others have put beside them since."""
    ours = [f.with_nullable(f.nullable and f.name not in shape.key) for f in shape.schema]
    paths: dict[str, Path] = {f.name: tuple(f.name.split(".")) for f in ours}
    levels = {path[:size] for path in paths.values() for size in range(1, len(path) + 1)}
    levels |= {(*path[:-1], path[-1] + FRACTION) for path in paths.values()}
    more = infer(buffer, starts, "columns") if len(starts) else Fields()
    beside = [f for f in more.schema if f.name != ID and not _covered(more.paths[f.name], levels, set(paths.values()))]
    paths |= {f.name: more.paths[f.name] for f in beside}
    return Collection(name, name, pa.schema([*ours, *beside]), shape.key, paths, strict=strict, rows=rows)


def _covered(path: Path, levels: set[Path], columns: set[Path]) -> bool:
    """Whether a path is a column of ours, inside of one, or a level above some."""
    return path in levels or any(path[:size] in columns for size in range(1, len(path)))


def _empty() -> Fields:
    made = Fields()
    made.paths[ID] = (ID,)
    made.schema.append(field_of(ID, Kind.OBJECT_ID, nullable=False))
    return made
