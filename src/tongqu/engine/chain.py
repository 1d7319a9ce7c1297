"""Row-wise steps between one source dataset and one sink: typed, run chunk by chunk, or pushed into the source."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from tongqu.core.balance import StepCounts
from tongqu.core.connector import Column, Select
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, SchemaError, TongquError
from tongqu.core.operator import Lineage, Step
from tongqu.engine.segment import Outcome, Segment, conform
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
    ):
        self.source = source
        self.steps = tuple(steps)
        self.datasets = [source]
        for step in steps:
            try:
                self.datasets.append(step.operator.output([self.datasets[-1]]))
            except TongquError as error:
                error.path = error.path or step.path
                raise
        self._settings = (threads, memory_mb, temp_directory)
        self._connection: DuckDBPyConnection | None = None
        self._parts = self._cut() if self.row_wise else []

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
        return any(step.operator.projection(d) is None for step, d in zip(self.steps, self.datasets, strict=False))

    @property
    def recipe(self) -> str:
        """A digest of the steps: work that was done by other steps must not go on with these."""
        told = [f"{step.id} {step.verb} {step.operator.model_dump_json()}" for step in self.steps]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]

    def lineage(self) -> dict[str, set[str]]:
        """For each output column the source columns its values come from."""
        found = {name: {name} for name in self.source.columns}
        for step, dataset in zip(self.steps, self.datasets, strict=False):
            made: Lineage = step.operator.lineage([dataset])
            found = {new: set().union(*(found[old] for _, old in sources)) for new, sources in made.items()}
        return found

    def reads(self) -> set[str]:
        """The source columns that are needed at all."""
        needed = {name for sources in self.lineage().values() for name in sources}
        found = {name: {name} for name in self.source.columns}
        for step, dataset in zip(self.steps, self.datasets, strict=False):
            for _, name in step.operator.reads([dataset]):
                needed |= found[name]
            made = step.operator.lineage([dataset])
            found = {new: set().union(*(found[old] for _, old in sources)) for new, sources in made.items()}
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
                return None, f"step {step.id!r}: {step.verb} runs in Python"
            faults = step.operator.faults(before)
            if faults:
                return None, f"step {step.id!r}: {step.verb} of {faults[0].field!r} can send rows to quarantine"
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

    def run(self, rows: pa.Table) -> Result:
        """The steps over one chunk with the source's columns, in order. Every step's counts balance or BalanceError."""
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
            else:
                outcome = self._python(*part, rows=done.rows)
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

    def fork(self) -> Chain:
        """The same compiled chain with a private database of its own, for another thread."""
        twin = object.__new__(Chain)
        twin.__dict__.update(self.__dict__)
        twin._connection = None
        return twin

    def close(self) -> None:
        """Release the private database; may be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _database(self) -> DuckDBPyConnection:
        if self._connection is None:
            threads, memory_mb, temp_directory = self._settings
            self._connection = open_sandbox(threads, memory_mb, temp_directory)
        return self._connection

    def _python(self, step: Step, before: Dataset, *, rows: pa.Table) -> Outcome:
        try:
            made = step.operator.apply([rows], [before])
        except TongquError as error:
            error.path = error.path or step.path
            raise
        counts = StepCounts(step.id, step.verb, rows_in=rows.num_rows, rows_out=made.num_rows)
        counts.filtered = max(0, rows.num_rows - made.num_rows)
        counts.generated = max(0, made.num_rows - rows.num_rows)
        counts.check()
        return Outcome(made, [], [counts])

    def _cut(self) -> list[Segment | tuple[Step, Dataset]]:
        """Group steps into SELECTs. A step that filters or may raise does not share one with an earlier step that
        refuses rows, since it must not see those."""
        parts: list[Segment | tuple[Step, Dataset]] = []
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
                parts.append((step, before))
                start, faulty = number + 1, False
                continue
            if faulty and (projection.where is not None or step.operator.may_fail(before)):
                close(number)
                start, faulty = number, False
            faulty = faulty or bool(step.operator.faults(before))
        close(len(self.steps))
        return parts

    def _carry(self, start: int, end: int) -> None:
        for dataset in (self.datasets[start], self.datasets[end]):
            check_carried(dataset.schema, dataset.name)


def _filters(step: Step, before: Dataset) -> bool:
    projection = step.operator.projection(before)
    return projection is not None and projection.where is not None


def _substituted(tree: exp.Expr, trees: Mapping[str, exp.Expr]) -> exp.Expr:
    from sqlglot import exp

    return tree.transform(lambda node: trees[node.name].copy() if isinstance(node, exp.Column) else node)
