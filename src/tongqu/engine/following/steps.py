"""What steps make of changes: of whole rows, of rows that lack columns, and of the keys of deleted ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tongqu.core.bad_rows import BadRows
from tongqu.core.balance import StepCounts
from tongqu.core.data import BadRow, Deletes, Write, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.core.kernels import pc
from tongqu.engine.leaving import Leaving, Trail, leaving
from tongqu.kit.originals import originals, shape_of
from tongqu.kit.unsent import lacking

if TYPE_CHECKING:
    from tongqu.engine.job import Stream

INCOMPLETE, WAITING = "change.incomplete", "change.waiting"
"""Codes of changes in quarantine: one that lacks a column which is needed, and one behind another of its key."""


@dataclass
class Shaped:
    """Rows as they go to the sink, and what became of the others."""

    rows: pa.Table
    bad: BadRows = field(default_factory=BadRows)
    steps: Sequence[StepCounts] = ()
    gone: pa.Table | None = None
    """Keys of rows that a filter leaves out now."""
    refused: pa.Table | None = None
    """The rows that were refused, as they came."""
    places: Any = None
    """Of which row each of `rows` is made; None: of every row in turn."""


class Steps:
    """The steps of one stream, for one thread. Raises InvalidPlanError where deletes could not be followed."""

    def __init__(self, stream: Stream, write: Write, source_key: Sequence[str]):
        self._chain = stream.chain.fork(live=True) if stream.chain is not None else None
        if self._chain is not None:
            self._chain.begin()
        self._write = write
        found = leaving(stream, write)
        self._leaving = found if isinstance(found, Leaving) else None
        chain = stream.chain
        self._copies = chain.copies() if chain is not None else {name: name for name in write.dataset.columns}
        self._looks_at = chain.looks_at() if chain is not None else set()
        self._ids = [step.id for step in chain.steps] if chain is not None else []
        self.by_key = write.mode in (WriteMode.UPSERT, WriteMode.HISTORY)
        made = [name for name in write.key if name not in self._copies]
        own = {self._copies[name] for name in write.key if name not in made}
        self.follows = not made and own == set(source_key)
        """Whether a key of the source is exactly one key of the target."""
        if self.by_key and not self.follows and write.deletes is not Deletes.IGNORE:
            what = f"{made[0]!r} is no plain copy of a column of the source" if made else "it is not the source's"
            raise InvalidPlanError(
                f"deletes cannot be followed by the key ({', '.join(write.key)}): {what} ({', '.join(source_key)})",
                path=stream.name,
                hint="write by the source's key, or keep deleted rows: --deletes ignore",
            )

    @property
    def reads(self) -> Collection[str]:
        """The source's columns that steps look at, besides copying them."""
        return self._looks_at

    def whole(self, rows: pa.Table) -> Shaped:
        """Rows that are complete."""
        if self._chain is None:
            return Shaped(rows)
        trail = Trail(rows.num_rows)
        result = self._chain.run(rows, trail)
        gone = self._leaving.keys(rows, trail) if self._leaving else None
        stayed = np.zeros(rows.num_rows, np.bool_)
        stayed[trail.out] = True
        stayed[trail.left] = True
        refused = None
        if not stayed.all() and any(step.quarantined for step in result.steps):
            refused = rows.filter(pa.array(~stayed))
        return Shaped(result.rows, result.bad, result.steps, gone, refused, trail.out)

    def partial(self, rows: pa.Table, lacks: Sequence[str]) -> Shaped:
        """Rows that lack columns: as rows with fewer columns; all are refused if a step needs one of those."""
        needed = self._looks_at.intersection(lacks)
        if needed:
            name = min(needed)
            message = f"the log did not send {name!r}, which did not change and which a step needs"
            cause = (INCOMPLETE, name, message)
            return Shaped(rows.slice(0, 0), set_aside(rows, cause, lacks=lacks), refused=rows)
        done = self.whole(rows)
        kept = [name for name in done.rows.schema.names if self._copies.get(name) not in lacks]
        done.rows = done.rows.select(kept)
        return done

    def keys(self, rows: pa.Table) -> pa.Table | None:
        """The target's keys of rows of the source; None where the one does not tell the other."""
        if not self.follows:
            return None
        schema = self._write.dataset.schema
        arrays: list[Any] = [rows.column(self._copies[name]).cast(schema.field(name).type) for name in self._write.key]
        return pa.Table.from_arrays(arrays, names=list(self._write.key))

    def committed(self) -> None:
        """The rows that went through are written."""
        if self._chain is not None:
            self._chain.committed()

    def close(self) -> None:
        """Release the steps' database."""
        if self._chain is not None:
            self._chain.close()


def known_keys(keys: pa.Table) -> Any:
    """Which rows have a value in every column, as a boolean Arrow array."""
    valid: Any = pc.is_valid(keys.column(0))
    for column in keys.columns[1:]:
        valid = pc.and_(valid, pc.is_valid(column))
    return valid


def set_aside(
    rows: pa.Table, cause: tuple[str, str, str], *, lacks: Sequence[str] = (), step: str = "source"
) -> BadRows:
    """Rows as records for the quarantine, all for one cause: code, field, message. They have no values in the columns
    that they lack; `step` is where they go in again."""
    code, name, message = cause
    shape = shape_of(lacking(rows.schema, lacks))
    sent = rows.drop_columns(list(lacks))
    return BadRows(BadRow(step, code, name, None, text, message, shape=shape) for text in originals(sent))
