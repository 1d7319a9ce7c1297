"""What a read walks over: one list, or one list for each record of a parent dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.data import Position
from tongqu.core.errors import LostPositionError, SchemaError, TongquError
from tongqu.kit.answers.doubles import Doubles
from tongqu.kit.lists.ahead import Ahead
from tongqu.kit.lists.endpoint import Bounds

if TYPE_CHECKING:
    from tongqu.kit.lists.catalog import Catalog, Listed

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """One list: how it is asked for, where to begin, and the parent's values that its records get."""

    bounds: Bounds
    state: Position | None = None
    place: Mapping[str, Any] = field(default_factory=dict)
    """What a position in it has beside the page: which parent."""
    kept: Mapping[str, Any] = field(default_factory=dict)
    parent: str = ""
    """The dataset whose record it belongs to."""

    @property
    def values(self) -> Mapping[str, Any]:
        """The parent's values in the path."""
        return self.bounds.values

    def at(self, state: Position | None) -> Position:
        """The position before the page of a state."""
        return {**self.place, "page": state}

    def after(self, following: Position | None) -> Position:
        """The position before the next page; None: the list is at its end."""
        if following is not None:
            return self.at(following)
        if "row" in self.place:
            return {"up": self.place["up"], "row": self.place["row"] + 1, "page": None, "past": self.place["of"]}
        return {"page": None, "last": True}

    def reaches(self, until: Position | None) -> bool:
        """Whether a read up to this position ends in this list or at its end."""
        if until is None:
            return False
        begins = {**self.place, "page": until.get("page")}
        return same(self.after(None), until) or (until.get("page") is not None and same(begins, until))

    def blame(self, error: TongquError) -> None:
        """Say in an error whose list it was, where there are several."""
        if self.parent:
            whose = ", ".join(f"{name}={value}" for name, value in self.values.items())
            error.message = f"{error.message} (below {self.parent}, {whose})"
            error.args = (error.message,)

    def completed(self, rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """The rows with the parent's values, in the schema's order."""
        columns: list[Any] = []
        for one in schema:
            if one.name in self.kept and one.name not in rows.schema.names:
                columns.append(pa.repeat(self.kept[one.name].cast(one.type), rows.num_rows))
            else:
                columns.append(rows.column(one.name))
        return pa.RecordBatch.from_arrays(columns, schema=schema)


def targets(
    catalog: Catalog, listed: Listed, bounds: Bounds, after: Position | None, width: int = 1
) -> Iterator[Target]:
    """The lists of a dataset from a position on; where the parents are in several lists, up to `width` of those are
    asked for at the same time. Raises LostPositionError where a parent is no longer where it was."""
    after = after or {}
    if after.get("last"):
        return
    parent = catalog.parent(listed)
    if parent is None:
        yield Target(bounds, after.get("page"))
        return
    told = listed.endpoint.settings.parent
    assert told is not None  # noqa: S101  # it has one
    kept = told.keep or told.values
    rows = catalog.rows(parent)
    schema = rows.schema
    if missing := [name for name in {**told.values, **kept}.values() if name not in schema.names]:
        raise SchemaError(
            f"{parent.name} has no field {missing[0]!r} to fill the path of {listed.name}",
            hint=f"its fields: {', '.join(schema.names)}",
        )
    first, doubles = after.get("row", 0), Doubles(rows.key)
    ahead = Ahead(parent.endpoint, width if parent.endpoint.settings.parent else 1, streams=False)
    for above, pages in ahead.lists(targets(catalog, parent, Bounds(), after.get("up"), width)):
        for page in pages:
            batch, bad = rows.parse(page.lines, texts=parent.endpoint.texts)
            batch, _ = doubles.without(batch)
            if bad:
                _log.warning(
                    "%s: %s records of %s cannot be read, nor what is below them", listed.name, len(bad), parent.name
                )

            def values_of(row: int, batch: pa.RecordBatch = batch) -> dict[str, Any]:
                return {hole: batch.column(name)[row].as_py() for hole, name in told.values.items()}

            past = after.get("past")
            if past is not None and (first > batch.num_rows or past != [str(v) for v in values_of(first - 1).values()]):
                raise _changed(parent.name, listed.name)
            for number in range(first, batch.num_rows):
                values = values_of(number)
                held = {name: batch.column(column)[number] for name, column in kept.items()}
                place = {"up": above.at(page.state), "row": number, "of": [str(one) for one in values.values()]}
                state = after.get("page") if number == first else None
                if state is not None and after.get("of") != place["of"]:
                    raise _changed(parent.name, listed.name)
                yield Target(replace(bounds, values=values), state, place, held, parent.name)
            first, after = 0, {}


def same(one: Position | None, other: Position | None) -> bool:
    """Whether two positions mean the same page: what was counted on the way to it may differ."""
    if one is None or other is None:
        return False
    return bool(_place(one) == _place(other))


def _place(position: Position) -> Any:
    state = position.get("page") or {}
    return (
        state.get("as"),
        state.get("at"),
        position.get("row"),
        _place(position["up"]) if position.get("up") else None,
    )


def _changed(parent: str, name: str) -> LostPositionError:
    return LostPositionError(
        f"the records of {parent} have changed since this run began", path=name, hint="run again with --restart"
    )
