"""The fields of documents as a tree, and their decoding into columns whose names are paths with dots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.mongodb import walking
from tongqu.connectors.mongodb.decode import FRACTION, column, type_name
from tongqu.connectors.mongodb.walking import Buffer, Ints, Marks, Octets, Values

Path = tuple[str, ...]


@dataclass
class Tree:
    """One level of documents: its columns and the documents inside by field name; `order` learns how fields come."""

    columns: dict[str, str] = field(default_factory=dict)
    """Field → column."""
    inner: dict[str, Tree] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    """Fields that are no column and are not missed: fractions of moments, arrays that are datasets of their own."""

    @classmethod
    def of(cls, paths: Mapping[str, Path], known: Iterable[Path] = ()) -> Tree:
        """The tree of columns with their paths."""
        tree = cls()
        for name, path in paths.items():
            tree.level(path).columns[path[-1]] = name
        for path in known:
            tree.level(path).known.add(path[-1])
        for level in tree.levels():
            level.order = [*level.columns, *level.inner]
        return tree

    def level(self, path: Path) -> Tree:
        """The level that holds the last part of a path, made where it is missing."""
        here = self
        for part in path[:-1]:
            here = here.inner.setdefault(part, Tree())
        return here

    def levels(self) -> Iterator[Tree]:
        """This level and all inside."""
        yield self
        for inner in self.inner.values():
            yield from inner.levels()


@dataclass
class Refusals:
    """Documents that do not fit, each with the first field that is to blame."""

    count: int
    rows: dict[int, tuple[str, str]] = field(default_factory=dict)

    def add(self, bad: Marks, name: str, why: Any) -> None:
        """Note the marked documents; `why` says for a row what is wrong."""
        for row in np.flatnonzero(bad).tolist():
            self.rows.setdefault(row, (name, why(row)))

    @property
    def marks(self) -> Marks:
        """The documents that are refused."""
        found = np.zeros(self.count, np.bool_)
        found[list(self.rows)] = True
        return found


@dataclass
class Decoded:
    """The columns of some documents, where their fields stand, and what is refused."""

    columns: dict[str, Any]
    places: dict[str, Values]
    """Of the fields of the top level."""
    refused: Refusals


def decode(buffer: Buffer, starts: Ints, tree: Tree, schema: Mapping[str, pa.Field[Any]], *, strict: bool) -> Decoded:
    """The columns of the documents that begin at `starts`; `strict` refuses those with fields that the tree has not."""
    walker = _Walker(buffer, schema, strict, Decoded({}, {}, Refusals(len(starts))))
    walker.done.places = walker.level(starts, tree, "")
    return walker.done


@dataclass
class _Walker:
    buffer: Buffer
    schema: Mapping[str, pa.Field[Any]]
    strict: bool
    done: Decoded

    def level(self, starts: Ints, tree: Tree, prefix: str) -> dict[str, Values]:
        """Decode one level of documents and all inside; where its fields stand."""
        found = walking.walk(self.buffer, starts, tree.order)
        for part, name in tree.columns.items():
            self._column(name, found.get(part) or _none(len(starts)), found.get(part + FRACTION))
        for part, inner in tree.inner.items():
            values = found.get(part) or _none(len(starts))
            here = values.types == walking.DOCUMENT
            other = ~here & (values.types != 0) & (values.types != walking.NULL) & (values.types != walking.UNDEFINED)
            self._refuse(other, prefix + part, values, "not a document")
            self.level(np.where(here, values.places, -1), inner, f"{prefix}{part}.")
        if self.strict:
            for part in found.keys() - tree.columns.keys() - tree.inner.keys() - tree.known:
                here = found[part].types != 0
                self.done.refused.add(here, prefix + part, lambda _: "a field that the sample did not have")
        return found

    def _column(self, name: str, values: Values, fraction: Values | None) -> None:
        field = self.schema[name]
        self.done.columns[name], bad = column(self.buffer, field, values, fraction)
        self._refuse(bad, name, values, f"not {field.type}")

    def _refuse(self, bad: Marks, name: str, values: Values, wanted: str) -> None:
        if bad.any():
            self.done.refused.add(bad, name, lambda row: f"{type_name(int(values.types[row]))}, {wanted}")


def _none(count: int) -> Values:
    types: Octets = np.zeros(count, np.uint8)
    return Values(types, np.zeros(count, np.int64))
