"""A table as a catalogue describes it: columns, keys, indexes, and the dataset it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from tongqu.core.data import Dataset, ForeignKey, Index, Meta

Typed = Callable[[str, str], "pa.Field[Any]"]
"""The field of a column's name and native type; of type null if its values cannot be read."""


@dataclass(frozen=True)
class Column:
    """One column; `native` is its type as CREATE TABLE takes it."""

    name: str
    native: str
    nullable: bool = True
    default: str | None = None
    generated: str | None = None
    """`stored` or `virtual` for computed columns."""
    identity: bool = False
    comment: str = ""


@dataclass
class Table:
    """A table or view. `name` is the dataset's: without the schema if it is the connection's own."""

    schema: str
    table: str
    name: str
    view: bool = False
    comment: str = ""
    rows: int | None = None
    columns: list[Column] = field(default_factory=list)
    primary: tuple[str, ...] = ()
    indexes: list[Index] = field(default_factory=list)
    """Without the primary key's own."""
    foreign_keys: list[ForeignKey] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key, or the first unique index whose columns are never null."""
        if self.primary:
            return self.primary
        required = {column.name for column in self.columns if not column.nullable}
        return next((i.columns for i in self.indexes if i.unique and i.columns and set(i.columns) <= required), ())

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)

    def dataset(self, typed: Typed) -> Dataset:
        """The table as a dataset; columns that cannot be read are named in `unsupported`."""
        fields: list[pa.Field[Any]] = []
        unsupported = []
        for column in self.columns:
            found = typed(column.name, column.native)
            if pa.types.is_null(found.type):
                unsupported.append(f"{column.name} {column.native}")
                continue
            told = {
                Meta.TITLE: column.comment,
                Meta.GENERATED: column.generated,
                Meta.IDENTITY: "identity" if column.identity else None,
                Meta.DEFAULT: column.default,
            }
            more = {str(name): text for name, text in told.items() if text}
            known = {name.decode(): text.decode() for name, text in (found.metadata or {}).items()}
            fields.append(pa.field(column.name, found.type, column.nullable, known | more))
        readable = {one.name for one in fields}
        return Dataset(
            name=self.name,
            schema=pa.schema(fields),
            key=self.key if set(self.key) <= readable else (),
            title=self.comment,
            rows=self.rows,
            indexes=tuple(index for index in self.indexes if index.columns and set(index.columns) <= readable),
            foreign_keys=tuple(self.foreign_keys),
            unsupported=tuple(unsupported),
        )

    def renamed(self, name: str) -> Table:
        """The same shape under another dataset name."""
        return replace(self, name=name)
