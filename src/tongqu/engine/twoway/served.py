"""A side that is a table of any connector that serves: reads and optimistic writes through `core.server`."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from tongqu.core.connector import Source
from tongqu.core.data import Dataset, Position
from tongqu.core.errors import InvalidPlanError, LostPositionError, RefusedRowsError, SchemaError
from tongqu.core.log import ORIGIN, Follow, Log
from tongqu.core.server import Change, Idempotency, Limits, Outcome, Page, Query, Server
from tongqu.engine.own_log import OwnLog
from tongqu.engine.twoway.packing import Shape, typed
from tongqu.engine.twoway.place import Place, Want

logger = logging.getLogger("tongqu.twoway")
T = TypeVar("T")
_ALL = Limits(seconds=3600.0, rows=1 << 40, bytes=1 << 50)
_FEW = Limits(seconds=60.0, rows=100_000, bytes=1 << 30)
_TOGETHER = 200
"""Rows that one question names."""
KEEP_SECONDS = 30 * 86_400
"""How long a system remembers that a write was done: a batch that is older is looked at again before it is repeated."""


@dataclass(frozen=True)
class Side:
    """How a side is reached. `columns` maps common fields to its own columns. `source` is there where its log is
    followed under `log`, `cursor` names the common field by which what is new is found; neither: all is compared."""

    name: str
    server: Server
    dataset: Dataset
    columns: Mapping[str, str]
    source: Source | None = None
    log: str = ""
    cursor: str = ""
    left: Callable[[str, str], None] = lambda old, new: None
    """See OwnLog."""
    mark: str = ""
    """The mark of a replication origin under which our own writes come back, where there is one."""


@dataclass
class Served(Place):
    """See Place. `runner` is the loop in which the server was opened."""

    side: Side
    shape: Shape
    runner: asyncio.Runner
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.side.name
        self._fields = {name: self.side.dataset.schema.field(self.side.columns[name]) for name in self.shape.fields}

    def rows(self) -> Iterator[pa.Table]:
        """See Place.rows. All rows of one statement."""
        pieces = self.side.server.stream(self._query(None, {}), "arrow", _ALL)
        reader = _Pieces(self.runner, pieces)
        try:
            with pa.ipc.open_stream(pa.PythonFile(reader, "r")) as stream:
                for batch in stream:
                    yield self._packed(pa.Table.from_batches([batch]))
        finally:
            reader.end()

    def fetch(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See Place.fetch."""
        found: dict[str, str] = {}
        for start in range(0, len(keys), _TOGETHER):
            some = keys[start : start + _TOGETHER]
            params: dict[str, Any] = {}
            asked = []
            for number, key in enumerate(some):
                with suppress(RefusedRowsError):  # no row can have a key that does not fit
                    asked.append(exp.paren(exp.and_(*self._keyed(key, f"k{number}_", params))))
            if not asked:
                continue
            condition = exp.or_(*asked)
            page = self._run(self.side.server.query(self._query(condition, params), "arrow", _FEW))
            table = self._packed(pa.ipc.open_stream(page.body).read_all())
            found |= zip(texts(table, "key"), texts(table, "row"), strict=True)
        return found

    def write(self, id: str, wants: Sequence[Want]) -> Sequence[bool | str]:
        """See Place.write. Rows that leave go first: what only one row may hold is free then."""
        told = json.dumps([[want.key, want.old, want.new] for want in wants], ensure_ascii=False)
        once = Idempotency("twoway", id, hashlib.sha256(told.encode()).hexdigest(), KEEP_SECONDS)
        order = sorted(range(len(wants)), key=lambda number: (wants[number].new is not None, wants[number].old is None))
        changes = [self._change(wants[number]) for number in order]

        def answer(outcome: Outcome) -> bytes:
            found: list[int | str] = [0] * len(wants)
            for number, touched, page in zip(order, outcome.touched, outcome.pages, strict=True):
                found[number] = (self._form(page, wants[number]) or 1) if touched else 0
            return json.dumps(found, ensure_ascii=False).encode()

        outcome = self._run(self.side.server.transact(changes, _FEW, once, answer))
        kept = outcome.replayed if outcome.replayed is not None else answer(outcome)
        return [one if isinstance(one, str) else bool(one) for one in json.loads(kept)]

    def _form(self, page: Page | None, want: Want) -> str:
        """The row that the system made of what was wanted; empty where it is that, or cannot be told."""
        if page is None:
            return ""
        rows = json.loads(page.body, parse_float=str, parse_int=str)
        try:
            columns = [
                typed([_text(row[field.name]) for row in rows[:1]], field.type) for field in self._fields.values()
            ]
            [text] = texts(self.shape.packed(pa.table(columns, list(self.shape.fields))), "row")
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, SchemaError, ValueError):
            return ""  # the next round sees it
        return "" if text == want.new else text

    def touched(self, after: Position | None) -> tuple[Sequence[str] | None, Position | None]:
        """See Place.touched."""
        left: Position | None = None
        if after is not None and "left" in after:
            left, after = after["left"], None
        if self.side.source is not None:
            return self._logged(self.side.source, after, left)
        if not self.side.cursor:
            return None, None
        params: dict[str, Any] = {}
        name = self.side.cursor
        condition = None
        if after is not None:
            [params["after"]] = self._values(name, [after["value"]])
            condition = exp.GTE(this=self._column(name), expression=exp.Placeholder(this="after"))
        page = self._run(self.side.server.query(self._query(condition, params), "arrow", _ALL))
        rows = self._renamed(pa.ipc.open_stream(page.body).read_all())
        if not rows.num_rows:
            return ([] if after else None), after
        cast = rows.column(name).cast(self.shape.schema.field(name).type)
        position = {"value": pc.max(cast).cast(pa.string()).as_py()}
        return (texts(self.shape.packed(rows), "key") if after else None), position

    def _logged(
        self, source: Source, after: Position | None, left: Position | None
    ) -> tuple[Sequence[str] | None, Position]:
        """Keys that the log names up to its present end. Without a position the log is begun, and all is compared; so
        it is where the log is lost behind the position: what was agreed is known, and rows tell all the rest."""
        own = OwnLog(source, self.side.log, [self.side.dataset], self.side.left)
        log = own.of(after or left)
        try:
            if left is None:
                try:
                    return self._named(log, after)
                except LostPositionError as error:
                    logger.warning("%s: %s; all rows are compared instead", self.name, error.message)
            log = own.instead(log, after or left)
            return self._named(log, None)
        finally:
            log.close()

    def _named(self, log: Log, after: Position | None) -> tuple[Sequence[str] | None, Position]:
        if after is None:
            return None, log.begin()
        until, keys, position = log.head(), dict[str, None](), after
        log.acknowledge(after)
        if log.reached(after, until):
            return [], after
        own = [self.side.columns[name] for name in self.shape.key]
        for batch in log.read(Follow(after=after, until=until)):
            if batch.kind in ("truncate", "schema"):
                return None, until
            if batch.kind == "rows" and batch.rows.num_rows:
                rows = pa.Table.from_batches([batch.rows])
                if self.side.mark and ORIGIN in rows.column_names:
                    rows = others(rows, self.side.mark)
                keys |= dict.fromkeys(self._keys(rows.select(own)))
            position = batch.position or position
        return list(keys), position

    def _keys(self, rows: pa.Table) -> list[str]:
        shape = Shape(pa.schema([self.shape.schema.field(name) for name in self.shape.key]), self.shape.key)
        return texts(shape.packed(rows.rename_columns(list(self.shape.key))), "key")

    # ---- questions and changes

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def _column(self, name: str) -> exp.Column:
        return exp.column(self.side.columns[name], quoted=True)

    def _query(self, condition: exp.Expr | None, params: dict[str, Any]) -> Query:
        tree = exp.select(*(self._column(name) for name in self.shape.fields)).from_(
            exp.Table(this=exp.to_identifier(self.side.dataset.name, quoted=True))
        )
        return Query(tree if condition is None else tree.where(condition), params, tuple(self._fields.values()))

    def _renamed(self, rows: pa.Table) -> pa.Table:
        return rows.rename_columns(list(self.shape.fields))

    def _packed(self, rows: pa.Table) -> pa.Table:
        return self.shape.packed(self._renamed(rows))

    def _values(self, name: str, texts: Sequence[str | None]) -> list[Any]:
        """Texts as values of the side's own type."""
        meant = typed(texts, self.shape.schema.field(name).type)
        try:
            made: list[Any] = meant.cast(self._fields[name].type).to_pylist()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise RefusedRowsError(
                f"a value of {name!r} does not fit the type that {self.name!r} has for it ({self._fields[name].type})"
            ) from None
        return made

    def _keyed(self, key: str, prefix: str, params: dict[str, Any]) -> list[exp.Expr]:
        told = enumerate(zip(self.shape.key, self.shape.key_values(key), strict=True))
        return [self._is(name, value, f"{prefix}{n}", params) for n, (name, value) in told]

    def _is(self, name: str, value: str | None, hole: str, params: dict[str, Any]) -> exp.Expr:
        if value is None:
            return exp.Is(this=self._column(name), expression=exp.Null())
        [params[hole]] = self._values(name, [value])
        return exp.EQ(this=self._column(name), expression=exp.Placeholder(this=hole))

    def _change(self, want: Want) -> Change:
        old, new = self.shape.row(want.old), self.shape.row(want.new)
        if old is None and new is None:
            raise InvalidPlanError("a row that is absent cannot become absent")
        params: dict[str, Any] = {}
        where = None
        if old is not None:
            where = exp.and_(*(self._is(name, value, f"o{n}", params) for n, (name, value) in enumerate(old.items())))
        if new is None:
            return Change("delete", self.side.dataset.name, (), where=where, params=params)
        names = [name for name in self.shape.fields if old is None or old[name] != new[name]]
        row = [self._values(name, [new[name]])[0] for name in names]
        columns, back = tuple(self._fields[name] for name in names), self._query(None, {})
        if old is None:
            conflict = tuple(self.side.columns[name] for name in self.shape.key)
            return Change("ignore", self.side.dataset.name, columns, [row], conflict=conflict, returning=back)
        return Change("update", self.side.dataset.name, columns, [row], where=where, params=params, returning=back)


def texts(rows: pa.Table, name: str) -> list[str]:
    """A column of texts without nulls."""
    found: list[Any] = rows.column(name).to_pylist()
    return found


def others(rows: pa.Table, mark: str) -> pa.Table:
    """Changes that were not made under the mark of an origin."""
    same: Any = pc.equal(rows.column(ORIGIN), pa.scalar(mark))
    return rows.filter(pc.invert(pc.fill_null(same, False)))


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


class _Pieces(io.RawIOBase):
    """Asynchronous pieces of bytes as a file that Arrow reads."""

    def __init__(self, runner: asyncio.Runner, pieces: AsyncIterator[bytes]):
        super().__init__()
        self._runner, self._pieces, self._rest = runner, pieces, b""

    def readable(self) -> bool:
        """It can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """As many bytes, fewer only at the end."""
        while size < 0 or len(self._rest) < size:
            piece = self._runner.run(_next(self._pieces))
            if piece is None:
                break
            self._rest += piece
        size = len(self._rest) if size < 0 else size
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def end(self) -> None:
        """Stop where it is."""
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            self._runner.run(close())


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)
