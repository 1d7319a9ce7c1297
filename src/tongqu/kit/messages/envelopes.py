"""Envelopes: what a message tells about a row, as Debezium and canal write it, in columns.

Debezium (debezium.io, "data change events"): `before`, `after`, `op` (c u d r t), `source`, `ts_ms`, perhaps inside
`payload`; a tombstone follows a delete. canal (github.com/alibaba/canal, FlatMessage): `data` and `old` are lists of
rows whose values are text, `type` INSERT, UPDATE, DELETE or TRUNCATE, `old` has the former values of what changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.core.kernels import pc
from tongqu.kit.messages.parsed import Failure, Places

UNAVAILABLE = "__debezium_unavailable_value"
"""What Debezium writes for a value that the log did not have."""
_SOURCE = pa.struct([("db", pa.string()), ("schema", pa.string()), ("table", pa.string()), ("ts_ms", pa.int64())])


_Told = tuple[Any, Any, dict[int, Failure]]


@dataclass(frozen=True)
class Changes:
    """Rows of the wire's columns with what happened to each; `places` are rows of the table they were made of."""

    columns: list[Any]
    op: Any
    at: Any
    places: Places
    failures: dict[int, Failure]
    """By row of the table."""


class Debezium:
    """Messages of one change each."""

    def __init__(self, fields: Sequence[pa.Field[Any]], key: Sequence[str], table: str):
        self.fields, self.key, self.table = list(fields), tuple(key), table

    def wire(self) -> pa.Schema:
        """What is read of a message."""
        row = pa.struct(self.fields)
        parts = [("before", row), ("after", row), ("op", pa.string()), ("ts_ms", pa.int64()), ("source", _SOURCE)]
        return pa.schema([*parts, ("payload", pa.struct(parts))])

    def unexpected(self, schema: pa.Schema) -> str:
        """A field of a row that is not known."""
        known = {field.name for field in self.fields}
        held = _structs(schema, ("before", "after"))
        if "payload" in schema.names:
            held += _structs(schema.field("payload").type, ("before", "after"))
        return _foreign(held, known)

    def changes(self, table: pa.Table) -> Changes:
        """The changes of documents."""
        inner = _array(table.column("payload"))
        column = {name: self._either(_array(table.column(name)), inner, name) for name in table.schema.names[:-1]}
        op, source = column["op"], column["source"]
        gone = pc.fill_null(pc.equal(op, "d"), False)
        ours = self._ours(source, table.num_rows)
        empty = pc.and_(pc.if_else(gone, column["before"].is_null(), column["after"].is_null()), _is_not(op, "t"))
        odd = pc.invert(pc.is_in(op, value_set=pa.array(["c", "u", "d", "r", "t"])))
        failures = {}
        for number in pc.indices_nonzero(pc.and_(ours, odd)).to_pylist():
            failures[number] = Failure(f"no change of Debezium: op is {op[number].as_py()!r}", field="op")
        for number in pc.indices_nonzero(pc.and_(ours, pc.and_(empty, pc.invert(odd)))).to_pylist():
            lacks = "before" if gone[number].as_py() else "after"
            failures[number] = Failure(f"a change of op {op[number].as_py()!r} without {lacks}", field=lacks)
        fine = pc.and_(ours, pc.invert(pc.or_(odd, empty)))
        places = np.flatnonzero(np.asarray(fine))
        taken = pa.array(places)
        columns = [
            pc.if_else(
                gone, pc.struct_field(column["before"], field.name), pc.struct_field(column["after"], field.name)
            )
            for field in self.fields
        ]
        at = pc.coalesce(pc.struct_field(source, "ts_ms"), column["ts_ms"])
        return Changes([c.take(taken) for c in columns], op.take(taken), at.take(taken), places, failures)

    @staticmethod
    def _either(outer: Any, payload: Any, name: str) -> Any:
        if payload.null_count == len(payload):
            return outer
        inner = pc.struct_field(payload, name)
        return inner if outer.null_count == len(outer) else pc.if_else(payload.is_valid(), inner, outer)

    def _ours(self, source: Any, rows: int) -> Any:
        if not self.table:
            return pa.array(np.ones(rows, bool))
        schema, _, name = self.table.rpartition(".")
        same = pc.equal(pc.struct_field(source, "table"), name)
        if schema:
            owner = pc.coalesce(pc.struct_field(source, "schema"), pc.struct_field(source, "db"))
            same = pc.and_(same, pc.equal(owner, schema))
        return pc.fill_null(same, False)


class Canal:
    """Messages of one statement each, whose rows are text."""

    OPS = ("INSERT", "UPDATE", "DELETE")

    def __init__(self, fields: Sequence[pa.Field[Any]], key: Sequence[str], table: str):
        self.fields = [pa.field(field.name, pa.string()) for field in fields]
        self.key, self.table = tuple(key), table

    def wire(self) -> pa.Schema:
        """What is read of a message."""
        rows = pa.list_(pa.struct(self.fields))
        texts = [(name, pa.string()) for name in ("type", "database", "table")]
        return pa.schema([("data", rows), ("old", rows), *texts, ("es", pa.int64()), ("isDdl", pa.bool_())])

    def unexpected(self, schema: pa.Schema) -> str:
        """A field of a row that is not known."""
        lists = [schema.field(name).type for name in ("data", "old") if name in schema.names]
        return _foreign([one.value_type for one in lists if pa.types.is_list(one)], {f.name for f in self.fields})

    def changes(self, table: pa.Table) -> Changes:
        """The changes of documents; statements that change no rows (DDL) are none, but for TRUNCATE."""
        kind, data, old = (_array(table.column(name)) for name in ("type", "data", "old"))
        lengths = np.asarray(pc.fill_null(pc.list_value_length(data), 0))
        ours = self._ours(table)
        empties = np.flatnonzero(np.asarray(pc.and_(ours, pc.fill_null(pc.equal(kind, "TRUNCATE"), False))))
        rows = pc.and_(ours, pc.is_in(kind, value_set=pa.array(self.OPS)))
        without = np.flatnonzero(np.asarray(rows) & (lengths == 0))
        failures = {int(n): Failure(f"{kind[n].as_py()} without data", field="data") for n in without}
        unknown = np.flatnonzero(np.asarray(kind.is_null()))
        failures |= {int(n): Failure("no change of canal: it has no type", field="type") for n in unknown}
        parents = np.repeat(np.arange(len(data)), lengths)
        kept = np.flatnonzero(np.asarray(rows)[parents])
        parents = parents[kept]
        starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
        within = kept - starts[parents]
        new = [pc.struct_field(data.flatten(), field.name).take(pa.array(kept)) for field in self.fields]
        before = self._before(old, parents, within, lengths)
        op = _mapped(kind.take(pa.array(parents)), dict(zip(self.OPS, "cud", strict=True)))
        told = (op, _array(table.column("es")), failures)
        return self._ordered(new, before, told, parents, empties)

    def _before(self, old: Any, parents: Places, within: Places, lengths: Places) -> list[Any]:
        """The former key of each row, null where it did not change."""
        sizes = np.asarray(pc.fill_null(pc.list_value_length(old), 0))
        starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        paired = sizes[parents] == lengths[parents]
        index = pa.array(np.where(paired, starts[parents] + within, 0), mask=~paired)
        flat = old.flatten()
        return [pc.struct_field(flat, name).take(index) for name in self.key]

    def _ordered(self, new: list[Any], before: list[Any], told: _Told, parents: Places, empties: Places) -> Changes:
        """Rows in order; a change of the key as a `d` of the old one and a `c`."""
        op, es, failures = told
        names = [field.name for field in self.fields]
        updated = pc.equal(op, "u")
        moved: Any = pa.array(np.zeros(len(op), bool))
        for name, former in zip(self.key, before, strict=True):
            other = pc.fill_null(pc.not_equal(former, new[names.index(name)]), False)
            moved = pc.or_(moved, pc.and_(updated, other))
        gone = np.flatnonzero(np.asarray(moved))
        at_gone = pa.array(gone)
        left = [
            pc.coalesce(before[self.key.index(name)], column).take(at_gone)
            if name in self.key
            else pa.nulls(len(gone), pa.string())
            for name, column in zip(names, new, strict=True)
        ]
        nothing = pa.nulls(len(empties), pa.string())
        order = np.argsort(
            np.concatenate([parents * 2 + 1, parents[gone] * 2 + 1, empties * 2]) * (len(op) + 2) * 2
            + np.concatenate([np.arange(len(op)) * 2 + 1, gone * 2, np.zeros(len(empties), np.int64)]),
            kind="stable",
        )
        taken = pa.array(order)
        columns = [pa.concat_arrays([column, old, nothing]).take(taken) for column, old in zip(new, left, strict=True)]
        op = pc.if_else(moved, "c", op)
        kinds = pa.array(["d"] * len(gone) + ["t"] * len(empties), pa.string())
        ops = pa.concat_arrays([op, kinds])
        places = np.concatenate([parents, parents[gone], empties])[order].astype(np.int64)
        return Changes(columns, ops.take(taken), es.take(pa.array(places)), places, failures)

    def _ours(self, table: pa.Table) -> Any:
        if not self.table:
            return pa.array(np.ones(table.num_rows, bool))
        owner, _, name = self.table.rpartition(".")
        same = pc.equal(_array(table.column("table")), name)
        if owner:
            same = pc.and_(same, pc.equal(_array(table.column("database")), owner))
        return pc.fill_null(same, False)


def unavailable(columns: Sequence[Any], names: Sequence[str]) -> tuple[list[Any], Any]:
    """The columns with null for what Debezium's log did not have, and the names of these by row (list<utf8>; None if
    there are none)."""
    made: list[Any] = []
    lacking: dict[int, list[str]] = {}
    for column, name in zip(columns, names, strict=True):
        if not pa.types.is_string(column.type):
            made.append(column)
            continue
        missing = pc.fill_null(pc.equal(column, UNAVAILABLE), False)
        if not missing.true_count:
            made.append(column)
            continue
        for number in pc.indices_nonzero(missing).to_pylist():
            lacking.setdefault(number, []).append(name)
        made.append(pc.if_else(missing, pa.scalar(None, pa.string()), column))
    if not lacking:
        return made, None
    return made, pa.array([lacking.get(n) for n in range(len(made[0]))], pa.list_(pa.string()))


def rows_of(document: dict[str, Any], envelope: str) -> tuple[list[dict[str, Any]], Sequence[str]]:
    """The rows that a sample's document has, and the key columns that it names."""
    if envelope == "debezium":
        told = document.get("payload") if isinstance(document.get("payload"), dict) else document
        held = (told or {}).get("after") or (told or {}).get("before")
        return ([held] if isinstance(held, dict) else []), ()
    if envelope == "canal":
        data = document.get("data") if not document.get("isDdl") else None
        return [one for one in data or () if isinstance(one, dict)], document.get("pkNames") or ()
    return [document], ()


def _array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _structs(holder: Any, names: Sequence[str]) -> list[Any]:
    kinds = [holder.field(name).type for name in names if holder.get_field_index(name) >= 0]
    return [kind for kind in kinds if pa.types.is_struct(kind)]


def _foreign(structs: Sequence[Any], known: set[str]) -> str:
    for one in structs:
        for number in range(one.num_fields):
            field = one.field(number)
            if field.name not in known and not pa.types.is_null(field.type):
                return str(field.name)
    return ""


def _is_not(column: Any, text: str) -> Any:
    return pc.fill_null(pc.not_equal(column, text), True)


def _mapped(column: Any, words: dict[str, str]) -> Any:
    indices = pc.index_in(column, value_set=pa.array(list(words)))
    return pa.array(list(words.values())).take(indices)
