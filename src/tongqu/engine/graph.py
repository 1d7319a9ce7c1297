"""Plans that are more than a chain: joins, aggregates, branches and several sinks, lazily and in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from tongqu.core.bad_rows import BadRows
from tongqu.core.balance import StepCounts
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, TongquError
from tongqu.core.operator import Operator, Step
from tongqu.core.plan import Plan, check_changes
from tongqu.engine.chain import Chain
from tongqu.engine.copies import walked
from tongqu.engine.flow import (
    Engine,
    Flow,
    Spool,
    appended,
    conformed,
    counted,
    marked,
    uniques,
    whole_python,
    whole_sql,
)
from tongqu.engine.gate import Gate
from tongqu.engine.segment import Segment
from tongqu.engine.sides import Side
from tongqu.engine.surveying import treated
from tongqu.meaning.sandbox import check_carried

Opener = Callable[[], pa.RecordBatchReader]


class Graph:
    """A plan over known datasets, typed and checked before any row.

    `incremental` names sources that give changes only; steps that need all rows over them are refused
    (InvalidPlanError), since the result would be silently wrong.
    """

    def __init__(
        self,
        plan: Plan,
        datasets: Mapping[str, Dataset],
        *,
        incremental: Collection[str] = (),
        threads: int = 1,
        memory_mb: int = 512,
        temp_directory: Path | str | None = None,
        batch_rows: int = 65_536,
    ):
        self.plan = plan
        self.datasets: dict[str, Dataset] = {name: datasets[name] for name in plan.sources}
        self._settings = (threads, memory_mb, temp_directory, batch_rows)
        for step in plan.steps:
            try:
                self.datasets[step.id] = step.operator.output(self.inputs(step))
                if not step.operator.chunk_safe or step.operator.side_names:
                    for dataset in (*self.inputs(step), self.datasets[step.id]):
                        check_carried(dataset.schema, dataset.name)
            except TongquError as error:
                error.path = error.path or step.path
                raise
        check_changes(plan, incremental)

    def inputs(self, step: Step) -> list[Dataset]:
        """The step's input datasets; several inputs of a one-input operator are one, appended."""
        found = [self.datasets[name] for name in step.inputs]
        if step.operator.arity[1] > 1:
            return found
        first = found[0]
        for name, other in zip(step.inputs[1:], found[1:], strict=True):
            mine = [(f.name, f.type) for f in first.schema]
            if mine != [(f.name, f.type) for f in other.schema]:
                raise InvalidPlanError(
                    f"{step.inputs[0]!r} and {name!r} have different columns and cannot be appended",
                    hint=f"{', '.join(first.columns)} / {', '.join(other.columns)}",
                )
        return [first]

    @property
    def outputs(self) -> dict[str, Dataset]:
        """The dataset each sink gets."""
        return {sink: self.datasets[name] for sink, name in self.plan.sinks.items()}

    @property
    def recipe(self) -> str:
        """A digest of the sources' datasets and of the steps with their inputs, see Chain.recipe."""
        told = [f"{name} {self.datasets[name].name}" for name in self.plan.sources]
        told += [f"{s.id} {s.verb} {','.join(s.inputs)} {s.operator.model_dump_json()}" for s in self.plan.steps]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]

    def lineage(self) -> dict[str, dict[str, set[tuple[str, str]]]]:
        """For each sink and output column the (source, column) pairs its values come from."""
        found: dict[str, dict[str, set[tuple[str, str]]]] = {
            name: {c: {(name, c)} for c in self.datasets[name].columns} for name in self.plan.sources
        }
        for step in self.plan.steps:
            single = step.operator.arity[1] == 1
            made: dict[str, set[tuple[str, str]]] = {}
            for column, sources in step.operator.lineage(self.inputs(step)).items():
                above = [(n, c) for i, c in sources for n in (step.inputs if single else (step.inputs[i],))]
                made[column] = set().union(*(found[n][c] for n, c in above)) if above else set()
            found[step.id] = made
        return {sink: found[name] for sink, name in self.plan.sinks.items()}

    def copies(self) -> dict[str, dict[str, tuple[str, str]]]:
        """For each sink the columns that are unchanged copies, with the source and column they copy."""
        found, _ = walked(self.plan, self.datasets, self.inputs)
        return {sink: found[name] for sink, name in self.plan.sinks.items()}

    def links(self) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        """Pairs of (source, column) that are equal in the rows that steps bring together."""
        return walked(self.plan, self.datasets, self.inputs)[1]

    def open(self, inputs: Mapping[str, Opener]) -> GraphRun:
        """Start one execution; `inputs` open each source's rows. Close it (it is a context manager)."""
        threads, memory_mb, temp_directory, batch_rows = self._settings
        return GraphRun(self, inputs, Engine(threads, memory_mb, temp_directory, batch_rows))


class GraphRun:
    """One execution: read each sink's rows to the end, in any order, one after the other.

    Rows are computed as they are asked for. What several steps or sinks take is computed once and spooled to a file in
    the temporary directory. Counts are complete when every sink was read to its end.
    """

    def __init__(self, graph: Graph, inputs: Mapping[str, Opener], engine: Engine):
        self._graph, self._inputs, self._engine = graph, inputs, engine
        self._counts = {step.id: StepCounts(step.id, step.verb) for step in graph.plan.steps}
        self._spools: dict[str, Spool] = {}
        self.read_rows = dict.fromkeys(graph.plan.sources, 0)
        """Rows that came out of each source."""
        self.bad = BadRows()
        """Refused rows so far; the caller may take them away while reading."""

    def read(self, sink: str) -> Iterator[pa.RecordBatch]:
        """The rows of one sink as batches; each step's counts are checked when its rows are at their end."""
        name = self._graph.plan.sinks[sink]
        for table in self._rows(name):
            yield from table.to_batches(max_chunksize=self._engine.batch_rows)

    @property
    def steps(self) -> list[StepCounts]:
        """Counts so far, in the plan's order."""
        return list(self._counts.values())

    def close(self) -> None:
        """Stop what runs, and delete what was spooled; may be called twice."""
        self._engine.close()

    def __enter__(self) -> GraphRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, name: str) -> Flow:
        """The rows of a source or step, for one consumer."""
        if self._graph.plan.consumers(name) <= 1:
            return self._made(name)
        if name not in self._spools:
            self._spools[name] = self._engine.spool(self._graph.datasets[name].schema, lambda: self._made(name))
        return self._spools[name].read()

    def _made(self, name: str) -> Flow:
        step = self._graph.plan.step(name)
        if step is None:
            return self._source(name)
        if step.operator.chunk_safe:
            return self._chain(step)
        flows = [self._rows(n) for n in step.inputs]
        inputs = self._graph.inputs(step)
        if step.operator.arity[1] == 1:
            flows = [appended(flows)]
        counts = self._counts[step.id]
        fields = getattr(step.operator, "unique_fields", ())
        if fields:
            return uniques(self._engine, step, inputs[0], flows[0], counts=counts, bad=self.bad)
        if step.operator.surveys(inputs[0]):
            both = (inputs[0], self._graph.datasets[step.id])
            return treated(self._engine, step, both, flows[0], counts=counts, bad=self.bad)
        flows = [counted(flow, counts, "rows_in") for flow in flows]
        if len(flows) == 1 and step.operator.faults(inputs[0]):
            flows = [self._gated(step, inputs[0], flows[0])]
        if self._is_sql(step):
            made = whole_sql(self._engine, step, inputs, flows, self._graph.datasets[step.id])
        else:
            made = whole_python(step, inputs, flows)
        made = marked(made, counts, step.operator.told) if step.operator.told else made
        return self._balanced(counted(made, counts, "rows_out"), counts, step.operator.missing_rows)

    def _is_sql(self, step: Step) -> bool:
        return type(step.operator).apply is Operator.apply

    def _gated(self, step: Step, dataset: Dataset, rows: Flow) -> Flow:
        """Rows without a fault; the others are refused before a step that needs all rows sees them."""
        gate = Segment([replace(step, operator=Gate(inner=step.operator))], [dataset, dataset])
        connection = self._engine.connection()
        counts = self._counts[step.id]
        for table in rows:
            outcome = gate.run(connection, table)
            self.bad.extend(outcome.bad)
            counts.quarantined += len(outcome.bad)
            yield outcome.rows

    def _balanced(self, rows: Flow, counts: StepCounts, kind: str) -> Flow:
        """Pass rows on; at the end, what went in and did not come out has the step's own name."""
        yield from rows
        missing = counts.rows_in - counts.rows_out - counts.quarantined
        if missing > 0 and kind != "generated":
            setattr(counts, kind, missing)
        else:
            counts.generated = -missing
        counts.check()

    def _source(self, name: str) -> Flow:
        for table in conformed(self._inputs[name](), self._graph.datasets[name]):
            self.read_rows[name] += table.num_rows
            yield table

    def _chain(self, last: Step) -> Flow:
        """As many row-wise steps above this one as nobody else takes, as one chain."""
        steps, first = [last], last
        while first.inputs[1:] == first.operator.side_names:
            above = self._graph.plan.step(first.inputs[0])
            if above is None or not above.operator.chunk_safe or self._graph.plan.consumers(above.id) > 1:
                break
            steps.insert(0, above)
            first = above
        source = self._graph.inputs(first)[0]
        followed = first.inputs[: len(first.inputs) - len(first.operator.side_names)]
        rows = appended([self._rows(n) for n in followed])
        names = {name for step in steps for name in step.operator.side_names}
        sides = {n: Side(self._graph.datasets[n], partial(self._rows, n)) for n in names}
        threads, memory_mb, temp_directory, _ = self._graph._settings
        part = max(64, memory_mb // 4)
        chain = Chain(source, steps, threads=threads, memory_mb=part, temp_directory=temp_directory, sides=sides)
        self._engine.closing(chain.close)
        return self._run(chain, rows)

    def _run(self, chain: Chain, rows: Flow) -> Flow:
        for table in rows:
            result = chain.run(table)
            self.bad.extend(result.bad)
            for counts in result.steps:
                self._counts[counts.step].add(counts)
            yield result.rows
        chain.close()
