"""The row-wise steps between a source or a step with state and the next one, over what a chunk changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tongqu.core.bad_rows import BadRows
from tongqu.core.balance import StepCounts, added
from tongqu.core.data import Counts, Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Step
from tongqu.engine.chain import Chain
from tongqu.engine.leaving import Trail
from tongqu.engine.state.delta import Delta, Identity

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class Tally:
    """What one chunk comes to beside its rows."""

    read: int = 0
    bad: BadRows = field(default_factory=BadRows)
    steps: Mapping[str, StepCounts] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    """Rows that a step with state has refused, by step, not counted yet; `dropped` are those that it left out."""
    dropped: dict[str, int] = field(default_factory=dict)

    def count(self, step: StepCounts) -> None:
        """Add one step's numbers."""
        self.steps = added(self.steps, [step])


class Branch:
    """Steps over rows of `dataset` that are told apart by `identity`; raises InvalidPlanError for a step after which
    that could not be told."""

    def __init__(self, origin: str, dataset: Dataset, identity: Identity, steps: Sequence[Step]):
        self.origin = origin
        self._dataset = dataset
        self._chain = Chain(dataset, steps) if steps else None
        for number, step in enumerate(steps):
            many = step.operator.leaves_rows or step.operator.side_names
            python = step.operator.projection(self._chain.datasets[number]) is None if self._chain else False
            if many or python:
                raise InvalidPlanError(
                    f"step {step.id!r}: after {step.verb} it cannot be told which row of a changed one is which, and a "
                    "step below keeps state",
                    path=step.path,
                    hint="put it into a pipeline of its own, behind the table that this one fills",
                )
        self.output = self._chain.output if self._chain else dataset
        kept = self._chain.copies() if self._chain else {name: name for name in dataset.columns}
        self.copies = kept
        self.identity = identity.renamed({old: new for new, old in reversed(list(kept.items()))})
        self.looks_at = self._chain.looks_at() if self._chain else set()

    def run(self, delta: Delta, tally: Tally) -> Delta:
        """The same change behind the steps. A refused row leaves what was there before as it is."""
        if self._chain is None:
            return delta
        own, parts = len(self._dataset.columns), len(self.identity.types)
        trail = Trail(delta.rows.num_rows)
        names = delta.rows.schema.names
        result = self._chain.run(delta.rows.select(names[:own]), trail)
        tally.bad.extend(result.bad)
        for step in result.steps:
            tally.count(step)
        places: Any = pa.array(trail.out)
        identity = delta.rows.select(names[own : own + parts])
        out = identity.take(places)
        rows = pa.Table.from_arrays(
            [*result.rows.columns, *out.columns], schema=pa.schema([*result.rows.schema, *out.schema])
        )
        stayed = np.zeros(delta.rows.num_rows, np.bool_)
        stayed[trail.out] = True
        stayed[trail.left] = True
        if stayed.all() or not any(step.quarantined for step in result.steps):
            return Delta(delta.keys, rows)
        mask: Any = pa.array(~stayed)
        return Delta(without(delta.keys, identity.filter(mask)), rows)

    def close(self) -> None:
        """Release the steps' database."""
        if self._chain is not None:
            self._chain.close()


def without(keys: pa.Table, others: pa.Table) -> pa.Table:
    """The rows of the one table that are not in the other; nulls equal each other."""
    mask: Any = pa.array(~held(keys, others))
    return keys.filter(mask)


def held(keys: pa.Table, others: pa.Table) -> Any:
    """Which rows of the one table are in the other, as numpy booleans; nulls equal each other."""
    if not others.num_rows or not keys.num_rows:
        return np.zeros(keys.num_rows, np.bool_)
    both = pa.concat_tables([keys, others.rename_columns(keys.schema.names).cast(keys.schema)])
    codes: Any = None
    for name in keys.schema.names:
        encoded: Any = both.column(name).combine_chunks().dictionary_encode(null_encoding="encode")
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        own = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        codes = own if codes is None else np.unique(codes * len(encoded.dictionary) + own, return_inverse=True)[1]
    return np.isin(codes[: keys.num_rows], codes[keys.num_rows :])


def beside(tally: Tally, out: int) -> Counts:
    """The numbers of a chunk less what the engine counts by itself: each row and each bad row as read."""
    refused = tally.bad.refused
    filtered = sum(step.filtered for step in tally.steps.values())
    deduplicated = sum(step.deduplicated for step in tally.steps.values())
    return Counts(
        read=tally.read - out - refused,
        filtered=filtered,
        deduplicated=deduplicated,
        generated=out + filtered + deduplicated + refused - tally.read,
        steps=dict(tally.steps),
    )
