"""Row-wise steps between one source dataset and one sink: typed, run chunk by chunk, or pushed into the source."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.balance import StepCounts
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, SchemaError, TongquError
from tongqu.core.operator import Lineage, Step
from tongqu.core.select import Column, Select
from tongqu.engine.copies import copied
from tongqu.engine.expanding import Expanding
from tongqu.engine.leaving import Trail
from tongqu.engine.refused import refused_rows
from tongqu.engine.segment import Outcome, Segment, conform
from tongqu.engine.sides import Side, Sides
from tongqu.meaning.expressions import cast, is_column, type_of
from tongqu.meaning.pushdown import identifier, push, push_column
from tongqu.meaning.sandbox import check_carried, open_sandbox

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from sqlglot import exp

Result = Outcome
"""Of one chunk: the rows that go on, the rows that were refused, and each step's balanced counts."""


class Chain:
    """A linear list of steps over one dataset.

    Everything that can be refused is refused here, before any row: unknown columns, expressions, types. Raises
    UnknownNameError, ExpressionError or InvalidPlanError with the step's path. `run` needs every step to be chunk-safe
    (`row_wise`); other plans belong to `engine.graph`.

    A chain has its own private database and is used by one thread at a time; `fork` gives another thread its own.
    """

    def __init__(
        self,
        source: Dataset,
        steps: Sequence[Step],
        *,
        threads: int = 1,
        memory_mb: int = 256,
        temp_directory: Path | str | None = None,
        sides: Mapping[str, Side] | None = None,
    ):
        """`sides` are the inputs that steps look up, by name; they are read when the first chunk comes."""
        self.source = source
        self.steps = tuple(steps)
        self.datasets = [source]
        self._sides: Mapping[str, Side] = sides or {}
        for number, step in enumerate(steps):
            try:
                self.datasets.append(step.operator.output(self.inputs(number)))
            except TongquError as error:
                error.path = error.path or step.path
                raise
        self._settings = (threads, memory_mb, temp_directory)
        self._connection: DuckDBPyConnection | None = None
        self._kept: list[Sides] = []
        self._owner, self._live = True, False
        self._keeping = Lock()
        self._parts = self._cut() if self.row_wise else []

    def inputs(self, number: int) -> list[Dataset]:
        """The datasets that a step reads: what the step above gives, then what it looks up."""
        return [self.datasets[number], *(self._sides[name].dataset for name in self.steps[number].operator.side_names)]

    @property
    def output(self) -> Dataset:
        """The dataset that comes out of the last step."""
        return self.datasets[-1]

    @property
    def row_wise(self) -> bool:
        """Whether chunks can be processed one by one."""
        return all(step.operator.chunk_safe for step in self.steps)

    @property
    def python(self) -> bool:
        """Whether a step is the user's Python (the python lane)."""
        return any(isinstance(part, tuple) for part in self._parts)

    @property
    def recipe(self) -> str:
        """A digest of the steps: work that was done by other steps must not go on with these."""
        told = [f"{step.id} {step.verb} {step.operator.model_dump_json()}" for step in self.steps]
        told += [f"{name} {side.dataset.name} {side.recipe}" for name, side in self._sides.items()]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]

    @property
    def filters(self) -> tuple[str, ...]:
        """The ids of the steps that may leave rows out."""
        return tuple(
            step.id
            for number, step in enumerate(self.steps)
            if step.operator.projection(self.datasets[number]) is None or _filters(step, self.datasets[number])
        )

    def copies(self) -> dict[str, str]:
        """The output columns that are unchanged copies of a source column, each with that column's name."""
        kept = {name: ("", name) for name in self.source.columns}
        for number, step in enumerate(self.steps):
            kept = copied(step, self.inputs(number), [kept, *({} for _ in step.operator.side_names)])
        return {name: column for name, (_, column) in kept.items()}

    def lineage(self) -> dict[str, set[str]]:
        """For each output column the source columns its values come from; columns that are looked up do not count."""
        found = {name: {name} for name in self.source.columns}
        for number in range(len(self.steps)):
            found = self._traced(number, found)
        return found

    def _traced(self, number: int, found: Mapping[str, set[str]]) -> dict[str, set[str]]:
        made: Lineage = self.steps[number].operator.lineage(self.inputs(number))
        return {new: {c for i, old in sources if not i for c in found[old]} for new, sources in made.items()}

    def reads(self) -> set[str]:
        """The source columns that are needed at all."""
        return {name for sources in self.lineage().values() for name in sources} | self.looks_at()

    def looks_at(self) -> set[str]:
        """The source columns that steps decide or compute by; those that are only passed on do not count."""
        needed: set[str] = set()
        found = {name: {name} for name in self.source.columns}
        for number, step in enumerate(self.steps):
            for place, name in step.operator.reads(self.inputs(number)):
                needed |= found[name] if not place else set()
            found = self._traced(number, found)
        return needed

    def pushdown(self, dialect: str) -> tuple[Select | None, str]:
        """The whole chain as one SELECT of the source's dialect, or None and the reason (step and construct)."""
        trees: dict[str, exp.Expr] = {}
        conditions: list[str] = []
        from sqlglot import exp

        for name in self.source.columns:
            trees[name] = exp.column(name, quoted=True)
        for number, step in enumerate(self.steps):
            before = self.datasets[number]
            projection = step.operator.projection(before)
            if projection is None:
                where = "in DuckDB" if isinstance(self._part(number), Expanding) else "in Python"
                return None, f"step {step.id!r}: {step.verb} runs {where}"
            faults = step.operator.faults(before)
            if faults:
                return None, f"step {step.id!r}: {step.verb} of {faults[0].field!r} can send rows to quarantine"
            if _changes_cells(step, before) or step.operator.stages(before):
                return None, f"step {step.id!r}: {step.verb} counts the cells it changes"
            if step.operator.newest:
                return None, f"step {step.id!r}: {step.verb} looks at the age of {step.operator.newest!r}"
            if projection.where is not None:
                sql, reason = push(_substituted(projection.where, trees), self.source.schema, dialect)
                if sql is None:
                    return None, f"step {step.id!r}: {reason}"
                conditions.append(sql)
            moved: dict[str, exp.Expr] = {}
            for name, tree in projection.columns.items():
                if is_column(tree):
                    moved[name] = trees[tree.name]
                    continue
                moved[name] = self._fixed(tree, trees, number)
                kind = self.datasets[number + 1].schema.field(name).type
                sql, reason = push_column(moved[name], self.source.schema, kind, dialect)
                if sql is None:
                    return None, f"step {step.id!r}: {name}: {reason}"
            trees = moved
        return self._select(trees, conditions, dialect)

    def _select(
        self, trees: Mapping[str, exp.Expr], conditions: Sequence[str], dialect: str
    ) -> tuple[Select | None, str]:
        made: list[Column] = []
        for field in self.output.schema:
            tree = trees[field.name]
            if is_column(tree):
                same = tree.name == field.name
                made.append(Column(field.name, None if same else identifier(tree.name, dialect), field))
                continue
            sql, reason = push_column(tree, self.source.schema, field.type, dialect)
            if sql is None:
                return None, f"{field.name}: {reason}"
            made.append(Column(field.name, sql, field))
        return Select(tuple(made), " AND ".join(conditions) or None), ""

    def _fixed(self, tree: exp.Expr, trees: Mapping[str, exp.Expr], number: int) -> exp.Expr:
        """A computed column over source columns, in exactly the type it has as a column."""
        ((duckdb_type, _),) = type_of([tree], self.datasets[number].schema)
        return cast(_substituted(tree, trees), duckdb_type)

    def run(self, rows: pa.Table, trail: Trail | None = None) -> Result:
        """The steps over one chunk with the source's columns, in order. Every step's counts balance or BalanceError.

        A new `trail` learns which rows were left out; steps in the user's Python cannot be followed.
        """
        if not self.row_wise:
            step = next(step for step in self.steps if not step.operator.chunk_safe)
            raise InvalidPlanError(f"step {step.id!r} ({step.verb}) needs all rows at once", path=step.path)
        if rows.schema.names != self.source.schema.names:
            raise SchemaError(
                f"rows of {self.source.name!r} have other columns than planned: {', '.join(rows.schema.names)}",
                hint=f"planned: {', '.join(self.source.columns)}",
            )
        done = Outcome(conform(rows, self.source.schema))
        for part in self._parts:
            if isinstance(part, Segment):
                outcome = part.run(self._database(), done.rows)
            elif isinstance(part, Expanding):
                database = self._database()
                outcome = part.run(database, done.rows, self._tables(part, done.rows))
            else:
                outcome = self._python(*part, rows=done.rows)
            if trail is not None:
                trail.follow(outcome)
            done = Outcome(outcome.rows, done.bad + outcome.bad, done.steps + outcome.steps)
        return done

    def pushed(self, read: int, rows: int) -> list[StepCounts]:
        """Each step's counts of a chunk that ran inside the source, which looked at `read` rows and gave `rows`.

        Filters are one WHERE there: what they leave out together counts at the last of them.
        """
        last = max((n for n, step in enumerate(self.steps) if _filters(step, self.datasets[n])), default=-1)
        counts = []
        for number, step in enumerate(self.steps):
            made = StepCounts(step.id, step.verb, read if number <= last else rows, read if number < last else rows)
            made.filtered = read - rows if number == last else 0
            made.check()
            counts.append(made)
        return counts

    def over(self, source: Dataset) -> Chain:
        """The same steps over rows of another schema; raises what the constructor raises. Closed by itself."""
        threads, memory_mb, folder = self._settings
        sides = self._sides
        return Chain(source, self.steps, threads=threads, memory_mb=memory_mb, temp_directory=folder, sides=sides)

    def fork(self, *, live: bool = False) -> Chain:
        """The same compiled chain with a private database of its own, for another thread. `live`: its rows are of now,
        so what steps look up is kept fresh for them (`Operator.side_freshness`)."""
        twin = object.__new__(Chain)
        twin.__dict__.update(self.__dict__)
        twin._connection, twin._owner, twin._live = None, False, live
        return twin

    def begin(self) -> None:
        """Begin to follow the logs of what steps look up, where these are followed; before the first row comes."""
        for side in self._sides.values():
            if side.mirror is not None:
                side.mirror.begin()

    def committed(self) -> None:
        """The rows that went through are written: what only they could look up need not be kept."""
        for side in self._sides.values():
            if side.mirror is not None:
                side.mirror.committed()

    def ended(self, *, whole: bool) -> None:
        """A run that ends by itself has written its rows (`whole`: all there are; the next one may bring them again).
        Histories are brought to now, so that they begin with the first run, also where it had no rows."""
        for side in self._sides.values():
            if side.mirror is not None and side.mirror.history is not None:
                side.mirror.caught_up(time.monotonic())
                if not whole:
                    side.mirror.committed()

    def close(self) -> None:
        """Release the private database, and with the chain itself what its forks share; may be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for kept in self._kept if self._owner else ():
            kept.close()

    def _tables(self, part: Expanding, rows: pa.Table) -> list[str]:
        if not part.step.operator.side_names:
            return []
        return self._kept[0].tables(part.step, rows, part.inputs, live=self._live and rows.num_rows > 0)

    def _database(self) -> DuckDBPyConnection:
        if self._connection is None and self._sides:
            with self._keeping:
                if not self._kept:
                    self._kept.append(Sides(self._sides, self.steps, self._settings))
            self._connection = self._kept[0].connection()
        if self._connection is None:
            threads, memory_mb, temp_directory = self._settings
            self._connection = open_sandbox(threads, memory_mb, temp_directory)
        return self._connection

    def _python(self, step: Step, before: Dataset, *, rows: pa.Table) -> Outcome:
        try:
            treated = step.operator.treat(rows, before)
        except TongquError as error:
            error.path = error.path or step.path
            raise
        made, bad, own = treated.rows, refused_rows(step.id, treated, rows), None
        counts = StepCounts(step.id, step.verb, rows_in=rows.num_rows, quarantined=len(bad))
        if bad and treated.codes is not None:
            good = pc.equal(treated.codes, pa.scalar(0, pa.int16()))
            made, own = made.filter(good), np.flatnonzero(good.to_numpy(zero_copy_only=False))
        counts.rows_out = made.num_rows
        counts.filtered = max(0, rows.num_rows - made.num_rows - len(bad))
        counts.generated = max(0, made.num_rows - rows.num_rows)
        counts.check()
        return Outcome(made, bad, [counts], own)

    def _part(self, number: int) -> Expanding | tuple[Step, Dataset]:
        """A step that is no projection, as a part of its own."""
        step, inputs = self.steps[number], self.inputs(number)
        relations = ["input", *(f"side{n}" for n in range(1, len(inputs))), *(f"at{n}" for n in range(1, len(inputs)))]
        if step.operator.expansion(relations, inputs) is None:
            return step, inputs[0]
        for dataset in (*inputs, self.datasets[number + 1]):
            check_carried(dataset.schema, dataset.name)
        return Expanding(step, inputs, self.datasets[number + 1])

    def _cut(self) -> list[Segment | Expanding | tuple[Step, Dataset]]:
        """Group steps into SELECTs. A step that filters or may raise does not share one with an earlier step that
        refuses rows, since it must not see those."""
        parts: list[Segment | Expanding | tuple[Step, Dataset]] = []
        start, faulty = 0, False

        def close(end: int) -> None:
            if end > start:
                self._carry(start, end)
                parts.append(Segment(self.steps[start:end], self.datasets[start : end + 1]))

        for number, step in enumerate(self.steps):
            before = self.datasets[number]
            projection = step.operator.projection(before)
            if projection is None:
                close(number)
                parts.append(self._part(number))
                start, faulty = number + 1, False
                continue
            if _changes_cells(step, before):  # it has a part of its own
                close(number)
                start = number
                close(number + 1)
                start, faulty = number + 1, False
                continue
            if faulty and (projection.where is not None or step.operator.may_fail(before)):
                close(number)
                start, faulty = number, False
            faulty = faulty or bool(step.operator.faults(before))
            if step.operator.newest:  # its rows are looked at as they leave it
                close(number + 1)
                start, faulty = number + 1, False
        close(len(self.steps))
        return parts

    def _carry(self, start: int, end: int) -> None:
        for dataset in (self.datasets[start], self.datasets[end]):
            check_carried(dataset.schema, dataset.name)


def _filters(step: Step, before: Dataset) -> bool:
    projection = step.operator.projection(before)
    return projection is not None and projection.where is not None


def _changes_cells(step: Step, before: Dataset) -> bool:
    return bool(step.operator.repairs(before) or step.operator.cleaned(before))


def _substituted(tree: exp.Expr, trees: Mapping[str, exp.Expr]) -> exp.Expr:
    from sqlglot import exp

    return tree.transform(lambda node: trees[node.name].copy() if isinstance(node, exp.Column) else node)
