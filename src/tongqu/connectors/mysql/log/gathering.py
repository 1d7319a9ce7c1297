"""Gathers the row events of one table until they become one batch of changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.mysql.log.cells import decoded
from tongqu.connectors.mysql.log.events import DELETE, UPDATE, WRITE, Rows, TableMap, Wire
from tongqu.connectors.mysql.log.refused import refused
from tongqu.connectors.mysql.log.shapes import Shape, choices
from tongqu.connectors.mysql.log.walking import PAD, Cells, Flags, Layout, made
from tongqu.core.data import BadRow
from tongqu.core.errors import ReadError
from tongqu.core.log import AT, CONTROL, OP, ORIGIN, UNCHANGED

Numbers = npt.NDArray[np.int64]
_OPS = {WRITE: "c", UPDATE: "u", DELETE: "d"}
_MOMENT = pa.timestamp("us", "UTC")


@dataclass
class _Alike:
    """Row events of one kind whose images have the same columns; row by row: where its images begin, its place in the
    order, when and where it was made."""

    does: str
    before: Layout | None
    after: Layout | None
    starts: list[int] = field(default_factory=list)
    counts: list[tuple[int, int, int, str]] = field(default_factory=list)
    """Per event: rows, number of its first row, Unix seconds, origin."""


class Gathering:
    """The changes of one table version that wait to become a batch."""

    def __init__(self, shape: Shape, found: TableMap):
        self.shape = shape
        self.map = found
        self.rows = 0
        self.bytes = 0
        self._wires = found.wires
        self._layouts: dict[bytes, Layout] = {}
        self._data: list[bytes] = []
        self._alike: dict[tuple[str, bytes, bytes], _Alike] = {}

    def add(self, event: Rows, seconds: int, origin: str) -> None:
        """Take the rows of one event; only finds where each of them begins."""
        key = event.does, event.before, event.after
        alike = self._alike.get(key)
        if alike is None:
            before, after = (self._layout(bits) if bits else None for bits in (event.before, event.after))
            alike = self._alike[key] = _Alike(event.does, before, after)
        layouts = [image for image in (alike.before, alike.after) if image is not None]
        data, at, end, base = event.data, 0, len(event.data), self.bytes
        starts = alike.starts
        first = len(starts)
        if len(layouts) == 1:
            step = layouts[0].step
            while at < end:
                starts.append(base + at)
                at = step(data, at)
        else:
            step, other = layouts[0].step, layouts[1].step
            while at < end:
                starts.append(base + at)
                at = step(data, at)
                starts.append(base + at)
                at = other(data, at)
        if at != end:
            raise ReadError(f"the log's rows of {self.shape.name} are not of the columns that are known")
        count = (len(starts) - first) // len(layouts)
        alike.counts.append((count, self.rows, seconds, origin))
        self._data.append(data)
        self.rows += count
        self.bytes += end

    def _layout(self, bits: bytes) -> Layout:
        if bits not in self._layouts:
            self._layouts[bits] = Layout.of(self._wires, bits)
        return self._layouts[bits]

    def take(self) -> tuple[pa.RecordBatch, list[BadRow]]:
        """The changes as a batch in the order of the log, and those that cannot be held; then nothing waits."""
        data = np.frombuffer(b"".join([*self._data, bytes(PAD)]), np.uint8)
        parts = [part for alike in self._alike.values() for part in self._parts(alike, data)]
        self._data, self._alike, self.rows, self.bytes = [], {}, 0, 0
        told = [name for name in (ORIGIN, UNCHANGED) if any(name in part.columns for part in parts)]
        tables = [part.table(self.shape.arrow, told) for part in parts]
        bad = [row for part in parts for row in part.bad]
        if len(tables) == 1:
            whole = tables[0]
        else:
            order = np.argsort(np.concatenate([part.order for part in parts]), kind="stable")
            whole = pa.concat_tables(tables).combine_chunks().take(_numbers(order))
        return whole.combine_chunks().to_batches()[0] if whole.num_rows else _empty(whole.schema), bad

    def _parts(self, alike: _Alike, data: npt.NDArray[np.uint8]) -> list[_Part]:
        starts = np.array(alike.starts, np.int64)
        order = np.concatenate([np.arange(first, first + rows) for rows, first, _, _ in alike.counts])
        rows = np.array([count for count, *_ in alike.counts])
        seconds = np.repeat([seconds for *_, seconds, _ in alike.counts], rows)
        origins = [origin or None for *_, origin in alike.counts]
        origin = pa.array(origins, pa.string()).take(_numbers(np.repeat(np.arange(len(rows)), rows)))
        images = _Images(self.shape, self._wires, data)
        made = _Made(order * 2 + 1, seconds, origin if any(origins) else None)
        if alike.before is None or alike.after is None:
            layout = alike.after or alike.before
            if layout is None:
                return []
            if alike.does == WRITE and len(layout.present) < len(self._wires):
                raise self._incomplete("an INSERT")
            return [images.part(_OPS[alike.does], {"": (layout, starts)}, made)]
        sides = {"after": (alike.after, starts[1::2]), "before": (alike.before, starts[::2])}
        moved = images.moved(sides)
        if not moved.any():
            return [images.part("u", sides, made)]
        if len(set(alike.after.present) | set(alike.before.present)) < len(self._wires):
            raise self._incomplete("a change of a key")
        gone, new = made.of(moved, -1), made.of(moved, 0)
        before, after = ({side: (layout, at[moved])} for side, (layout, at) in reversed(sides.items()))
        parts = [images.part("d", before, gone), images.part("c", after | before, new)]
        if not moved.all():
            left = {side: (layout, at[~moved]) for side, (layout, at) in sides.items()}
            parts.append(images.part("u", left, made.of(~moved, 0)))
        return parts

    def _incomplete(self, what: str) -> ReadError:
        return ReadError(
            f"the log has not all columns of {what} of {self.shape.name}",
            hint="SET GLOBAL binlog_row_image = 'FULL', let the writers log in anew, and run the sync with --restart",
        )


def _numbers(values: Numbers) -> Any:
    return made(values, pa.int64(), np.zeros(len(values), bool))


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], own.type) for own in schema], schema=schema)


@dataclass(frozen=True)
class _Made:
    """What is known of each row beside its columns."""

    order: Numbers
    seconds: Numbers
    origin: Any

    def of(self, chosen: Flags, shift: int) -> _Made:
        origin = None if self.origin is None else self.origin.filter(pa.array(chosen))
        return _Made(self.order[chosen] + shift, self.seconds[chosen], origin)


@dataclass
class _Part:
    """Rows of one kind with their columns, control columns and order."""

    columns: dict[str, Any]
    order: Numbers
    bad: list[BadRow]

    def table(self, schema: pa.Schema, told: Sequence[str]) -> pa.Table:
        rows = len(self.order)
        control = [pa.field(OP, pa.string()), pa.field(AT, _MOMENT)]
        control += [pa.field(ORIGIN, pa.string())] if ORIGIN in told else []
        control += [pa.field(UNCHANGED, pa.list_(pa.string()))] if UNCHANGED in told else []
        fields = [*schema, *control]
        arrays = [self.columns[f.name] if f.name in self.columns else pa.nulls(rows, f.type) for f in fields]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


class _Images:
    """Rows of one table version in the bytes of their events."""

    def __init__(self, shape: Shape, wires: Sequence[Wire], data: npt.NDArray[np.uint8]):
        self._shape = shape
        self._wires = wires
        self._data = data

    def columns(self, layout: Layout, starts: Numbers, names: Sequence[str]) -> dict[str, tuple[Any, Flags | None]]:
        """The named columns that the images have, and the rows that Arrow cannot hold."""
        numbers = {self._shape.numbers[name]: name for name in names}
        found = {}
        for number, cells in layout.cells(self._data, starts, set(numbers)):
            column = self._shape.columns[number]
            kind = self._shape.arrow.field(column.name).type
            native = column.native
            values = choices(column.type) if native.name in ("enum", "set") else ()
            found[numbers[number]] = decoded(
                cells, self._wires[number], kind, native=native, charset=column.charset, values=values
            )
        return found

    def moved(self, sides: dict[str, tuple[Layout, Numbers]]) -> Flags:
        """Which updates changed their row's key."""
        after = self.columns(*sides["after"], self._shape.key)
        before = self.columns(*sides["before"], tuple(after))
        moved = np.zeros(len(sides["after"][1]), bool)
        for name, (value, _) in after.items():
            if name in before and not value.equals(before[name][0]):
                same = pc.fill_null(pc.equal(value, before[name][0]), False)
                moved |= ~np.asarray(same)
        return moved

    def part(self, op: str, sides: dict[str, tuple[Layout, Numbers]], made: _Made) -> _Part:
        """The rows of one kind. Columns are taken from the first side that has them."""
        found: dict[str, tuple[Any, Flags | None]] = {}
        names = self._shape.arrow.names
        for layout, starts in sides.values():
            found |= self.columns(layout, starts, [name for name in names if name not in found])
        rows = len(made.order)
        columns = {name: value for name, (value, _) in found.items()}
        columns[OP] = pa.repeat(pa.scalar(op), rows)
        columns[AT] = pa.array(made.seconds * 1_000_000, pa.int64()).cast(_MOMENT)
        if made.origin is not None:
            columns[ORIGIN] = made.origin
        missing = [name for name in names if name not in found]
        if missing and op == "u":
            columns[UNCHANGED] = pa.repeat(pa.scalar(missing, pa.list_(pa.string())), rows)
        wrong = {
            n: w for n, (_, w) in found.items() if w is not None and w.any() and (op != "d" or n in self._shape.key)
        }
        part = _Part(columns, made.order, [])
        if wrong:
            self._refuse(part, wrong, sides)
        return part

    def _refuse(self, part: _Part, wrong: dict[str, Flags], sides: dict[str, tuple[Layout, Numbers]]) -> None:
        """Take the rows out that have a cell Arrow cannot hold."""
        bad = np.logical_or.reduce(list(wrong.values()))
        numbers = {self._shape.numbers[name]: name for name in wrong}
        cells: dict[int, Cells] = {}
        for layout, starts in reversed(sides.values()):
            cells |= dict(layout.cells(self._data, starts[bad], set(numbers)))
        texts = {name: (wrong[name][bad], self._wires[number], cells[number]) for number, name in numbers.items()}
        values = {name: own.filter(pa.array(bad)) for name, own in part.columns.items() if name not in CONTROL}
        part.bad = refused(values, texts, self._shape.arrow)
        keep = pa.array(~bad)
        part.columns = {name: value.filter(keep) for name, value in part.columns.items()}
        part.order = part.order[~bad]
