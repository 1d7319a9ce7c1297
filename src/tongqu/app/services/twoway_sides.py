"""Opens the sides of a two-way sync and finds the fields that they have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from tongqu.app.services.ends import Ends
from tongqu.app.services.kept_logs import note_log, own_name, two_way_of
from tongqu.core.data import Dataset, Meta
from tongqu.core.errors import InvalidPlanError, SchemaError
from tongqu.engine.twoway.packing import Shape
from tongqu.engine.twoway.place import Place
from tongqu.engine.twoway.served import Served, Side

if TYPE_CHECKING:
    from tongqu.app.project.twoway import TwoWayEntry, TwoWaySide
    from tongqu.core.connector import Source
    from tongqu.core.server import Server


@dataclass(frozen=True)
class Opened:
    """The common fields, and the sides by name."""

    shape: Shape
    places: Mapping[str, Place]


def sides(ends: Ends, name: str, entry: TwoWayEntry, runner: asyncio.Runner, stack: ExitStack) -> Opened:
    """Connect all sides; `stack` closes them. The types of the common fields are those of the first side. Raises
    InvalidPlanError for a system that cannot be queried and changed, SchemaError if the sides do not fit."""
    from tongqu.app.services.publishing import opened

    found: dict[str, tuple[TwoWaySide, Server, Dataset, Mapping[str, str]]] = {}
    for side in entry.between:
        end = ends.end(side.connection)
        if end.connector.server is None:
            raise InvalidPlanError(
                f"{side.connection!r} ({end.connector.name}) cannot be queried and changed row by row, so it is no "
                "side of a two-way sync", path=f"sync.{name}",
                hint="let pipelines carry its rows into a table beside it and back, and name that table",
            )  # fmt: skip
        server = runner.run(opened(end))
        stack.callback(lambda server=server: runner.run(server.close()))  # type: ignore[misc]  # a default
        if not server.transactions or runner.run(server.keeps_keys()) is False:
            raise InvalidPlanError(
                f"{side.connection!r} cannot remember which writes were done", path=f"sync.{name}",
                hint="the login must be able to create `_tongqu_idempotency`, or use a pipeline",
            )  # fmt: skip
        dataset = runner.run(server.describe(side.dataset))
        found[side.called] = (side, server, dataset, _columns(side, dataset))
    shape = _shape(name, entry, found)
    places: dict[str, Place] = {}
    for called, (side, server, dataset, columns) in found.items():
        source: Source | None = None
        log, left = "", Side.left
        if entry.mode == "cdc":
            source = ends.end(side.connection).source()
            stack.callback(source.close)
            log = own_name(ends.end(side.connection), "twoway", name, called)
            left = note_log(ends.end(side.connection), log, two_way_of(name))
        cursor = entry.cursor if entry.mode == "incremental" else ""
        whole = Side(called, server, dataset, columns, source, log, cursor, left, side.mark)
        places[called] = Served(whole, shape, runner)
    return Opened(shape, places)


def _columns(side: TwoWaySide, dataset: Dataset) -> Mapping[str, str]:
    """Common names → its own."""
    missing = [own for own in side.map if own not in dataset.columns]
    if missing:
        raise SchemaError(f"{side.called}: {dataset.name} has no column {missing[0]!r}", field=missing[0])
    return {side.map.get(own, own): own for own in dataset.columns}


def _shape(
    name: str, entry: TwoWayEntry, found: Mapping[str, tuple[TwoWaySide, Server, Dataset, Mapping[str, str]]]
) -> Shape:
    (first, _, dataset, columns), *others = found.values()
    all_have = [field for field in columns if all(field in theirs for *_, theirs in others)]
    for field in entry.fields:
        lacking = [called for called, (*_, theirs) in found.items() if field not in theirs]
        if lacking:
            raise SchemaError(f"{lacking[0]} has no field {field!r}", field=field)
    key = tuple(first.map.get(own, own) for own in (first.key or dataset.key))
    if not key or not set(key) <= set(all_have):
        raise InvalidPlanError(
            f"sync.{name}: a record is known by its key, which all sides must have", path=f"sync.{name}",
            hint="give the first side a `key`, and the others the same fields by `map`",
        )  # fmt: skip
    wanted = [field for field in all_have if not entry.fields or field in entry.fields or field in key]
    generated = Meta.GENERATED.value.encode()
    made = {
        field for *_, theirs_of, theirs in found.values() for field in wanted
        if generated in (theirs_of.schema.field(theirs[field]).metadata or {})
    }  # fmt: skip
    schema = pa.schema([(field, dataset.schema.field(columns[field]).type) for field in wanted if field not in made])
    shape = Shape(schema, key)
    shape.check()
    return shape
