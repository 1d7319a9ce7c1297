"""Finds the fields of a collection and their types by looking at some of its documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from tongqu.connectors.mongodb import walking
from tongqu.connectors.mongodb.kinds import Kind, field_of, kind_of
from tongqu.connectors.mongodb.tree import Path
from tongqu.connectors.mongodb.walking import Buffer, Ints, Values
from tongqu.core.errors import SchemaError

_DEEPEST = 6
_MOST_FIELDS = 64
"""A document inside with more fields than so many has its data in their names: it is JSON."""
Nesting = Literal["columns", "json", "children"]


@dataclass
class Fields:
    """The columns of documents with their paths, and the paths of arrays of documents."""

    schema: list[pa.Field[Any]] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)
    arrays: list[Path] = field(default_factory=list)

    def add(self, path: Path, kind: Kind, *, nullable: bool) -> None:
        """Note a column. Raises SchemaError if its name is another one's path."""
        name = ".".join(path)
        if name in self.paths:
            raise SchemaError(
                f"the fields {self.paths[name]} and {path} would both be the column {name!r}", field=name,
                hint="set nested to json",
            )  # fmt: skip
        self.paths[name] = path
        self.schema.append(field_of(name, kind, nullable=nullable))


def infer(buffer: Buffer, starts: Ints, nested: Nesting) -> Fields:
    """The fields of these documents, `_id` first. Raises SchemaError for names that cannot be told apart."""
    found = Fields()
    values = walking.walk(buffer, starts, ["_id"])
    ids = values.pop("_id")
    found.add(("_id",), _kind(buffer, ids), nullable=False)
    _level(buffer, values, nested, (), found)
    return found


def elements(buffer: Buffer, starts: Ints, path: Path) -> Ints:
    """The first byte of each document in the arrays at a path."""
    for part in path[:-1]:
        values = walking.walk(buffer, starts, [part])[part]
        starts = np.where(values.types == walking.DOCUMENT, values.places, -1)
    found = walking.unwound(buffer, walking.walk(buffer, starts, [path[-1]])[path[-1]])
    places: Ints = found.places[found.types == walking.DOCUMENT]
    return places


def infer_elements(buffer: Buffer, starts: Ints) -> Fields:
    """The fields of documents in an array; arrays in them are JSON."""
    found = Fields()
    _level(buffer, walking.walk(buffer, starts, []) if len(starts) else {}, "columns", (), found)
    return found


def _level(buffer: Buffer, values: dict[str, Values], nested: Nesting, prefix: Path, found: Fields) -> None:
    for name, one in values.items():
        path = (*prefix, name)
        types = {int(t) for t in np.unique(one.types)} - {0, walking.NULL, walking.UNDEFINED}
        if types == {walking.DOCUMENT} and nested != "json" and len(path) < _DEEPEST:
            inner = walking.walk(buffer, np.where(one.types == walking.DOCUMENT, one.places, -1), [])
            if inner and len(inner) <= _MOST_FIELDS:
                _level(buffer, inner, nested, path, found)
                continue
        if types == {walking.ARRAY} and nested == "children" and _of_documents(buffer, one):
            found.arrays.append(path)
            continue
        found.add(path, _kind(buffer, one), nullable=True)


def _of_documents(buffer: Buffer, values: Values) -> bool:
    types = walking.unwound(buffer, values).types
    return bool(len(types)) and bool((types == walking.DOCUMENT).all())


def _kind(buffer: Buffer, values: Values) -> Kind:
    binaries = values.types == walking.BINARY
    subtypes = {int(one) for one in np.unique(buffer.octets[values.places[binaries] + 4])}
    return kind_of({int(one) for one in np.unique(values.types)}, subtypes)
