"""`trace`: from one row of a target back to the rows it was made of, the runs that wrote it, and their versions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from tongqu.app.project.load import Project
from tongqu.app.services.diffing import comparable
from tongqu.app.services.ends import End, Ends
from tongqu.app.services.hiding import CLOSED
from tongqu.catalog.agreement import Wish, agree
from tongqu.catalog.lineage import Flow, Place
from tongqu.core.compare import Span, key_columns
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidSettingsError, NotFoundError, TongquError, UnknownNameError, learnt
from tongqu.kit.patterns import nearest
from tongqu.store.runs import Runs
from tongqu.store.scrub import Scrubber

_RUNS = 5


@dataclass
class Tracing:
    """Follows rows upstream through recorded flows. Systems are only read, with exact conditions on few columns."""

    ends: Ends
    flows: Sequence[Flow]
    runs: Runs
    scrubber: Scrubber
    limit: int = 20
    """Most rows shown of one dataset."""
    depth: int = 8
    _seen: set[tuple[Place, str]] = field(default_factory=set)

    def trace(self, connection: str, dataset: str, where: Mapping[str, str]) -> dict[str, Any]:
        """The target's rows that have these values, and for each flow that wrote the dataset its sources' rows.

        Raises NotFoundError if the dataset or the row is not there, UnknownNameError for a column, and
        InvalidSettingsError for a value that the column's type cannot hold.
        """
        end = self.ends.end(connection)
        found = self._rows(end, dataset, where)
        if not found["count"]:
            told = ", ".join(f"{name}={value}" for name, value in where.items())
            raise NotFoundError(f"{dataset!r} has no row with {told}", path=end.name, hint="look at its key columns")
        place = self._place(end, found["dataset"])
        return {"target": found, "flows": self._upstream(place, found["rows"], 0)}

    def _place(self, end: End, dataset: str) -> Place:
        """The place as flows know it; a URL and a connection of the project may mean the same one."""
        names = {flow.sink[0] for flow in self.flows}
        for name in (end.name, *sorted(names)):
            if name in names and (name == end.name or self._same(name, end)):
                return name, dataset
        return end.name, dataset

    def _same(self, name: str, end: End) -> bool:
        try:
            return self.ends.end(name).identity == end.identity
        except TongquError:
            return False

    def _upstream(self, place: Place, rows: Sequence[Mapping[str, Any]], depth: int) -> list[dict[str, Any]]:
        return [self._flow(flow, rows, depth) for flow in self.flows if flow.sink == place]

    def _flow(self, flow: Flow, rows: Sequence[Mapping[str, Any]], depth: int) -> dict[str, Any]:
        return {
            "pipeline": flow.name,
            "kind": flow.kind,
            "mode": flow.mode,
            "write": flow.write,
            "steps": list(flow.steps),
            "run": flow.run,
            "version": flow.version,
            "hash": flow.hash,
            "at": flow.last_at,
            "runs": list(self.runs.flow_runs(flow.id))[:_RUNS],
            "sources": self._sources(flow, rows, depth),
        }

    def _sources(self, flow: Flow, rows: Sequence[Mapping[str, Any]], depth: int) -> list[dict[str, Any]]:
        """The rows of each source: by what was copied of it into the target's key, else by the columns it was matched
        on with a source whose rows are known by then, else by any columns that were copied."""
        waiting = list(dict.fromkeys(flow.sources))
        done: dict[Place, dict[str, Any]] = {}
        while waiting:
            known = {place: document["rows"] for place, document in done.items()}
            place, wanted = next(
                (
                    (place, wanted)
                    for way in (_by_key, _by_match, _by_copies)
                    for place in waiting
                    if (wanted := way(flow, place, rows, known))
                ),
                (waiting[0], []),
            )
            waiting.remove(place)
            done[place] = self._source(place, wanted, depth)
        return [done[place] for place in dict.fromkeys(flow.sources)]

    def _source(self, place: Place, wanted: Sequence[Mapping[str, Any]], depth: int) -> dict[str, Any]:
        document: dict[str, Any] = {"connection": place[0], "dataset": place[1], "count": 0, "rows": [], "note": ""}
        if not wanted:
            return {**document, "note": "no column of the target is a plain copy of one of this dataset"}
        try:
            end = self.ends.end(place[0])
            parts = [self._rows(end, place[1], _texts(where)) for where in _distinct(wanted)]
        except TongquError as error:
            return {**document, "note": self.scrubber.text(error.message)}
        found = [row for part in parts for row in part["rows"]][: self.limit]
        document |= {"count": sum(part["count"] for part in parts), "rows": found, "where": wanted[: self.limit]}
        again = (place, repr(wanted))
        if found and depth < self.depth and again not in self._seen:
            self._seen.add(again)
            upstream = self._upstream(self._place(end, parts[0]["dataset"]), found, depth + 1)
            document |= {"flows": upstream} if upstream else {}
        return document

    def _rows(self, end: End, name: str, where: Mapping[str, str | None]) -> dict[str, Any]:
        """Rows of a dataset that have these values: how many, and the first of them."""
        with learnt(), closing(end.source()) as source:
            dataset = _dataset(source.datasets([name]), name, end, source.datasets)
            condition = " AND ".join(_equals(dataset, column, value) for column, value in where.items())
            wish = Wish(key=dataset.key, bag=not dataset.key, where=condition)
            agreement = agree(dataset, dataset, wish)
            with closing(comparable(source, dataset, agreement.left)) as side:
                (total,) = side.sums([Span()])
                keys = side.some(self.limit)
                width = max(1, len(agreement.left.key))
                keys = keys.select(list(key_columns(width)))
                table = side.rows(keys, list(dataset.columns)).select(list(dataset.columns))
        return {
            "connection": end.name,
            "dataset": dataset.name,
            "where": dict(where),
            "count": total.rows,
            "rows": table.slice(0, self.limit).to_pylist(),
        }


def masked(document: Any, hidden: Collection[str]) -> Any:
    """The document with the values of hidden fields as `***`, in rows and conditions alike."""
    if isinstance(document, list):
        return [masked(item, hidden) for item in document]
    if not isinstance(document, Mapping):
        return document
    shown = {name: masked(value, hidden) for name, value in document.items()}
    if "rows" in document and "dataset" in document:
        shown["rows"] = [_hide(row, hidden) for row in document["rows"]]
        told = document.get("where")
        shown["where"] = [_hide(one, hidden) for one in told] if isinstance(told, list) else _hide(told or {}, hidden)
    return shown


def _hide(row: Mapping[str, Any], hidden: Collection[str]) -> dict[str, Any]:
    return {name: "***" if name in hidden and value is not None else value for name, value in row.items()}


def closed_fields(project: Project | None, flows: Sequence[Flow]) -> set[str]:
    """Names of fields of class personal, sensitive or secret: the dictionary's, and the columns they are copies of or
    were copied to."""
    entries = project.dictionary.values() if project else ()
    found = {name for entry in entries for name, told in entry.fields.items() if told.class_ in CLOSED}
    pairs = [(name, origin[2]) for flow in flows for name, origins in flow.columns.items() for origin in origins]
    while more := {b for a, b in (*pairs, *((y, x) for x, y in pairs)) if a in found and b not in found}:
        found |= more
    return found


def conditions(texts: Sequence[str]) -> dict[str, str]:
    """`COLUMN=VALUE` taken apart; raises InvalidSettingsError."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidSettingsError(f"{text!r} is no COLUMN=VALUE", path="COLUMN=VALUE", hint="for example id=42")
        found[name] = value
    if not found:
        raise InvalidSettingsError("name a row", path="COLUMN=VALUE", hint="its key: for example id=42")
    return found


def _dataset(found: Sequence[Dataset], name: str, end: End, every: Any) -> Dataset:
    exact = [dataset for dataset in found if dataset.name == name] or list(found)
    if len(exact) == 1:
        return exact[0]
    known = [dataset.name for dataset in (found or every(None))]
    raise NotFoundError(
        f"{end.name} has no dataset {name!r}" if not found else f"{name!r} may be one of {', '.join(known)}",
        path=end.name, hint=f"similar or present: {nearest(name, known) or 'none'}", params={"name": name},
    )  # fmt: skip


def _equals(dataset: Dataset, column: str, value: str | None) -> str:
    """The condition in the documented expression dialect."""
    import pyarrow as pa

    if column not in dataset.columns:
        raise UnknownNameError(
            f"{dataset.name!r} has no column {column!r}", path=column, hint=f"columns: {', '.join(dataset.columns)}",
            params={"name": column},
        )  # fmt: skip
    name = '"' + column.replace('"', '""') + '"'
    if value is None:
        return f"{name} IS NULL"
    kind = dataset.schema.field(column).type
    text = "'" + value.replace("'", "''") + "'"
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        from decimal import Decimal, InvalidOperation

        try:
            return f"{name} = {Decimal(value):f}"
        except InvalidOperation:
            raise InvalidSettingsError(f"{column}: {value!r} is not a number", path=column) from None
    if pa.types.is_boolean(kind):
        return f"{name} = {'true' if value.lower() in ('true', '1', 't') else 'false'}"
    if pa.types.is_floating(kind):
        return f"{name} = CAST({text} AS DOUBLE)"
    if pa.types.is_date(kind):
        return f"{name} = CAST({text} AS DATE)"
    if pa.types.is_timestamp(kind):
        return f"{name} = CAST({text} AS {'TIMESTAMPTZ' if kind.tz else 'TIMESTAMP'})"
    return f"{name} = {text}"


def _texts(where: Mapping[str, Any]) -> dict[str, str | None]:
    return {name: None if value is None else str(value) for name, value in where.items()}


def _distinct(wanted: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({repr(sorted(where.items())): where for where in wanted}.values())


_Rows = Sequence[Mapping[str, Any]]
_Known = Mapping[Place, _Rows]


def _by_key(flow: Flow, place: Place, rows: _Rows, known: _Known) -> list[dict[str, Any]]:
    """What the rows of a source must have by the target's key columns that were copied from it; nothing if none was."""
    del known
    keyed = {c: origin[2] for c, origin in flow.copies.items() if origin[:2] == place and c in flow.key}
    return [{old: row.get(column) for column, old in keyed.items()} for row in rows] if keyed else []


def _by_match(flow: Flow, place: Place, rows: _Rows, known: _Known) -> list[dict[str, Any]]:
    """The same by the columns that a step found equal in rows of another source; null is equal to nothing."""
    del rows
    pairs = [*flow.links, *((second, first) for first, second in flow.links)]
    for other, others in known.items():
        matched = {mine[2]: theirs[2] for mine, theirs in pairs if (mine[:2], theirs[:2]) == (place, other)}
        if matched and others:
            found = [{mine: row.get(theirs) for mine, theirs in matched.items()} for row in others]
            return [where for where in found if None not in where.values()]
    return []


def _by_copies(flow: Flow, place: Place, rows: _Rows, known: _Known) -> list[dict[str, Any]]:
    """The same by all columns of the target that were copied from it; a row of nulls says nothing."""
    del known
    copies = {column: origin[2] for column, origin in flow.copies.items() if origin[:2] == place}
    found = [{old: row.get(column) for column, old in copies.items()} for row in rows]
    return [where for where in found if set(where.values()) - {None}]
