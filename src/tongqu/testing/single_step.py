"""Runs one step over rows in the lane its operator calls for, for tests against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from tongqu.core.balance import StepCounts
from tongqu.core.data import BadRow, Dataset
from tongqu.core.operator import Step, parse_step
from tongqu.core.plan import plan
from tongqu.engine.chain import Chain
from tongqu.engine.graph import Graph
from tongqu.testing.tested import saw

Row = dict[str, Any]
_CHAINS: dict[str, Chain] = {}


@dataclass
class Ran:
    """What came out of one step."""

    rows: list[Row]
    bad: list[BadRow]
    counts: StepCounts
    schema: pa.Schema

    def column(self, name: str) -> list[Any]:
        """One column's values."""
        return [row[name] for row in self.rows]


def step(raw: Row, folder: str = ".", dictionary: Any = None, secret: Callable[[str], str] | None = None) -> Step:
    """The step as it is just before a run."""
    made = parse_step(raw, "steps[0]", dictionary, folder=folder)
    return replace(made, operator=made.operator.unlocked(secret)) if secret else made


def run(raw: Row | Step, rows: list[Row] | pa.Table, schema: pa.Schema | None = None, *, pieces: int = 2) -> Ran:
    """The step over the rows: in one chunk and in `pieces` chunks, which must agree, or in a graph if it needs all rows
    at once."""
    made = raw if isinstance(raw, Step) else step(raw)
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=schema)
    dataset = Dataset("t", table.schema)
    size = max(1, -(-table.num_rows // pieces))
    if not made.operator.chunk_safe:
        return _whole(made, dataset, table, size)
    name = id(raw) if isinstance(raw, Step) else repr(raw)
    chain = _chain(repr((name, str(table.schema))), dataset, made)
    result = chain.run(table)
    saw(result.steps)
    assert result.rows.schema.equals(chain.output.schema, check_metadata=True)
    again = [chain.run(table.slice(at, size)) for at in range(0, table.num_rows, size)]
    if made.verb != "encrypt":
        assert str(pa.concat_tables([result.rows.slice(0, 0), *(r.rows for r in again)]).to_pylist()) == str(
            result.rows.to_pylist()
        )
    assert sorted(b.message for r in again for b in r.bad) == sorted(b.message for b in result.bad)
    return Ran(result.rows.to_pylist(), list(result.bad), result.steps[0], result.rows.schema)


def _chain(key: str, dataset: Dataset, made: Step) -> Chain:
    """The compiled step; the last ones are kept, since a property tries the same step many times."""
    if key not in _CHAINS:
        if len(_CHAINS) > 4:
            _CHAINS.pop(next(iter(_CHAINS))).close()
        _CHAINS[key] = Chain(dataset, [made])
    return _CHAINS[key]


def _whole(made: Step, dataset: Dataset, table: pa.Table, size: int) -> Ran:
    graph = Graph(plan(["s"], [made], {"out": None}), {"s": dataset})
    batches = table.to_batches(max_chunksize=size)
    with graph.open({"s": lambda: pa.RecordBatchReader.from_batches(table.schema, batches)}) as opened:
        rows = [row for batch in opened.read("out") for row in batch.to_pylist()]
        saw(opened.steps)
        return Ran(rows, list(opened.bad), opened.steps[0], graph.outputs["out"].schema)
