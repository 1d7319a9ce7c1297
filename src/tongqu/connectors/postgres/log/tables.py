"""Which datasets the tables of a change log are, as their columns were at each place of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from tongqu.connectors.postgres import catalog
from tongqu.connectors.postgres.db import PgDb, quoted
from tongqu.connectors.postgres.log.decode import Relation, Resolve
from tongqu.connectors.postgres.log.shape import Shape
from tongqu.connectors.postgres.ranges import Ordering
from tongqu.core.data import Dataset, Meta
from tongqu.core.errors import SchemaError
from tongqu.core.log import Follow

_TYPES = """
SELECT pg_catalog.format_type(u.kind, u.modifier), t.typtype::text,
       CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END, et.typtype::text
FROM unnest(?::oid[], ?::int[]) WITH ORDINALITY AS u(kind, modifier, place)
LEFT JOIN pg_catalog.pg_type t ON t.oid = u.kind
LEFT JOIN pg_catalog.pg_type et ON et.oid = t.typelem AND t.typcategory = 'A' ORDER BY u.place
"""


class Tables:
    """The followed tables by oid. `resolve` is asked for every Relation message."""

    def __init__(
        self, db: Callable[[], PgDb], relations: Sequence[catalog.Relation], datasets: dict[str, Dataset]
    ) -> None:
        self._db = db
        self.relations = list(relations)
        self._datasets = {relation.oid: datasets[relation.name] for relation in relations}
        self._known: dict[int, tuple[Relation, Shape]] = {}
        self._money: int | None = None

    def resolve(self, relation: Relation) -> tuple[Shape | None, bool]:
        """The shape of the table's rows from here on (None if it is not followed), and whether its columns are others
        than the dataset's were. Raises SchemaError if the key is gone."""
        dataset = self._datasets.get(relation.oid)
        if dataset is None:
            return None, False
        known = self._known.get(relation.oid)
        if known is not None and known[0].columns == relation.columns:
            return known[1], False
        fields = self._fields(relation)
        other = {field.name: _native(field) for field in fields.values()} != {
            field.name: _native(field) for field in dataset.schema
        }
        if other:
            dataset = _changed(dataset, fields)
            self._datasets[relation.oid] = dataset
        shape = Shape(dataset, [name for name, _, _ in relation.columns], self._money_digits(dataset))
        self._known[relation.oid] = (relation, shape)
        return shape, other

    def resolving(self, follow: Follow) -> Resolve:
        """As `resolve`; a table whose rows cannot be told by its key any more is left out."""

        def resolved(relation: Relation) -> tuple[Shape | None, bool]:
            try:
                return self.resolve(relation)
            except SchemaError as error:
                self.leave(error.path)
                follow.lose(error.path, error)
                return None, False

        return resolved

    def leave(self, name: str) -> int:
        """Follow a table no more; its oid."""
        (oid,) = (relation.oid for relation in self.relations if relation.name == name)
        self.relations = [relation for relation in self.relations if relation.oid != oid]
        del self._datasets[oid]
        return oid

    def orderings(self) -> dict[str, tuple[Dataset, Ordering]]:
        """The tables as they can be read again."""
        found = {}
        for relation in self.relations:
            dataset = self._datasets[relation.oid]
            types = {column.name: column.type for column in relation.columns}
            table = f"{quoted(relation.schema)}.{quoted(relation.table)}"
            found[dataset.name] = (dataset, Ordering(table, dataset.key, tuple(types[name] for name in dataset.key)))
        return found

    def _fields(self, relation: Relation) -> dict[str, pa.Field[Any]]:
        """The columns as fields; their types are those of the log, named by the catalogue."""
        kinds = [kind for _, kind, _ in relation.columns]
        modifiers = [modifier for _, _, modifier in relation.columns]
        described = self._db().rows(_TYPES, (kinds, modifiers))
        fields = {}
        for (name, _, _), (native, kind, base, element) in zip(relation.columns, described, strict=True):
            info = catalog.ColumnInfo(name, native, False, "", "", None, None, element or kind or "b", base)
            fields[name] = catalog.column_field(info)
        return fields

    def _money_digits(self, dataset: Dataset) -> int:
        if not any(_native(field).startswith("postgres:money") for field in dataset.schema):
            return 2
        if self._money is None:
            self._money = int(self._db().rows("SELECT scale('1'::money::numeric)")[0][0])
        return self._money


def _native(field: pa.Field[Any]) -> str:
    return (field.metadata or {}).get(Meta.NATIVE.encode(), b"").decode()


def _changed(dataset: Dataset, fields: dict[str, pa.Field[Any]]) -> Dataset:
    """The dataset with these columns: those that stay keep their place and what else is known about them."""
    gone = [name for name in dataset.key if name not in fields]
    if gone:
        raise SchemaError(
            f"key columns were dropped or renamed: {', '.join(gone)}",
            path=dataset.name,
            hint="sync the table again in full: the same command with --restart",
        )
    old = {field.name: field for field in dataset.schema}
    kept = [
        old[name] if _native(old[name]) == _native(fields[name]) else fields[name] for name in old if name in fields
    ]
    new = [field for name, field in fields.items() if name not in old]
    return replace(dataset, schema=pa.schema([*kept, *new]))
