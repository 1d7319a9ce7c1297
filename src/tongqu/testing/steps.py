"""Runs one step over tables in memory, in a graph or chunk by chunk, for tests that read as examples.

ran = run_step({"sort": ["-n"]}, pa.table({"n": [1, 2]}))
assert ran.rows.to_pydict() == {"n": [2, 1]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from tempfile import gettempdir
from typing import Any

import pyarrow as pa

from tongqu.core.balance import StepCounts
from tongqu.core.data import BadRow, Dataset
from tongqu.core.operator import Step, parse_step
from tongqu.core.plan import plan
from tongqu.engine.chain import Chain
from tongqu.engine.graph import Graph
from tongqu.engine.sides import Side
from tongqu.testing.tested import saw


@dataclass
class Ran:
    """What came of it."""

    rows: pa.Table
    bad: list[BadRow]
    counts: StepCounts
    output: Dataset

    @property
    def codes(self) -> list[str]:
        """Why rows were refused, in order."""
        return [row.code for row in self.bad]


def run_step(
    raw: Mapping[str, Any],
    *tables: pa.Table,
    names: Sequence[str] = ("a", "b"),
    keys: Sequence[Sequence[str]] = (),
    memory_mb: int = 128,
    batch_rows: int = 65_536,
) -> Ran:
    """Run one step in a graph whose sources are the tables, called `names`. Counts balance, and the rows have exactly
    the schema that was planned; batches have at most `batch_rows` rows."""
    sources = list(names[: len(tables)])
    known = [*(tuple(key) for key in keys), *((),) * len(tables)]
    datasets = {n: Dataset(n, t.schema, key=k) for n, t, k in zip(sources, tables, known, strict=False)}
    step = parse_step({**raw} if len(tables) == 1 else _placed(raw, sources), "steps[0]")
    graph = Graph(
        plan(sources, [step], {"out": None}),
        datasets,
        memory_mb=memory_mb,
        batch_rows=batch_rows,
        temp_directory=gettempdir(),
    )

    def opened(table: pa.Table) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=batch_rows))

    with graph.open({n: partial(opened, t) for n, t in zip(sources, tables, strict=True)}) as run:
        output = graph.outputs["out"]
        batches = list(run.read("out"))
        rows = pa.Table.from_batches(batches, schema=output.schema)
        assert all(batch.schema.equals(output.schema, check_metadata=True) for batch in batches)
        saw(run.steps)
        return Ran(rows, list(run.bad), run.steps[0], output)


def run_in_chain(raw: Mapping[str, Any], table: pa.Table, side: pa.Table | None = None, *, chunk: int = 3) -> Ran:
    """Run one row-wise step chunk by chunk, as a stream does; `side` is what it looks up."""
    step = parse_step(raw, "steps[0]")
    sides = {}
    if side is not None:
        (name,) = step.operator.side_names
        sides = {name: Side(Dataset(name, side.schema), lambda: iter([side]))}
    chain = Chain(Dataset("a", table.schema), [step], sides=sides, temp_directory=gettempdir())
    results = [chain.run(table.slice(at, chunk)) for at in range(0, max(1, table.num_rows), chunk)]
    chain.close()
    counts = StepCounts(step.id, step.verb)
    for result in results:
        counts.add(result.steps[0])
    saw([counts])
    rows = pa.concat_tables([chain.output.schema.empty_table(), *(result.rows for result in results)])
    return Ran(rows, [bad for result in results for bad in result.bad], counts, chain.output)


def planned(raw: Mapping[str, Any], *datasets: Dataset) -> tuple[Step, Dataset]:
    """A step with the dataset it would give; raises what `plan` would say."""
    step = parse_step(raw, "steps[0]")
    return step, step.operator.output(list(datasets))


def _placed(raw: Mapping[str, Any], sources: Sequence[str]) -> dict[str, Any]:
    """A step that looks something up follows the first source."""
    found = next(iter(raw))
    return {"from": sources[0], **raw} if found == "lookup" else {**raw}
