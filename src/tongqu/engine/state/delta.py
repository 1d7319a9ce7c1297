"""What one chunk changes in the rows between two steps: identities that are others now, and the rows they have now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_IDENTITY = "_tongqu_i"


@dataclass(frozen=True)
class Delta:
    """`keys` are the identities of which anything may have changed, each once; `rows` are the rows that those have now,
    whole, with the columns of their identity behind their own. A key without a row is gone."""

    keys: pa.Table
    rows: pa.Table

    def __bool__(self) -> bool:
        return bool(self.keys.num_rows)


@dataclass(frozen=True)
class Identity:
    """What tells rows between two steps apart.

    `types` are those of its parts; `columns` names for each part the column that always equals it (None: there is
    none, or it may be null); `needed` are the parts that the others do not determine.
    """

    types: tuple[pa.DataType, ...]
    columns: tuple[str | None, ...]
    needed: tuple[int, ...]
    only_added: bool = False
    """Whether rows are only ever added, never changed and never taken away."""

    def names(self, side: int = 0) -> tuple[str, ...]:
        """The names of its parts as columns, where several inputs meet."""
        return tuple(f"{_IDENTITY}{side}_{number}" for number in range(len(self.types)))

    @property
    def key(self) -> tuple[str, ...]:
        """The columns by which rows can be written; empty if some part is in no column."""
        found = [self.columns[number] for number in self.needed]
        return tuple(name for name in found if name is not None) if None not in found else ()

    def fields(self, side: int = 0) -> list[pa.Field[Any]]:
        """Its parts as fields."""
        return [pa.field(name, kind) for name, kind in zip(self.names(side), self.types, strict=True)]

    def renamed(self, columns: dict[str, str]) -> Identity:
        """After steps that keep some columns under these new names (old to new)."""
        return Identity(
            self.types, tuple(columns.get(c) if c else None for c in self.columns), self.needed, self.only_added
        )


def moved(rows: pa.Table, own: int, side: int, parts: int) -> pa.Table:
    """Rows with their identity's columns named for another side; `own` columns stand before them."""
    names = [*rows.schema.names[:own], *(f"{_IDENTITY}{side}_{number}" for number in range(parts))]
    return rows.rename_columns(names)


def distinct(tables: Sequence[pa.Table]) -> pa.Table:
    """The different rows of tables with one schema."""
    whole = pa.concat_tables(tables)
    return whole.group_by(whole.schema.names).aggregate([]).select(whole.schema.names) if whole.num_rows else whole
