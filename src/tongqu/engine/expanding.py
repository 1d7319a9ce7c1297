"""A row-wise step that gives several rows a row, over one chunk: its SQL, its numbers and the rows it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.bad_rows import BadRows
from tongqu.core.balance import StepCounts
from tongqu.core.data import BadRow, Dataset
from tongqu.core.errors import DuplicateError
from tongqu.core.operator import Expansion, Step
from tongqu.engine.flow import refusal
from tongqu.engine.refused import bad_rows
from tongqu.engine.segment import Outcome, conform, joined, missing, places
from tongqu.kit.originals import originals, shape_of
from tongqu.meaning.sandbox import ROW_COLUMN, quoted, relation_names

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_INPUT = "input"


class Expanding:
    """Compiled once, then run on any connection. Rows keep the order of the rows they were made of.

    A row for which the SQL raises is found by halving and quarantined as `<verb>.failed`; a DuplicateError is no row's
    fault and ends the run.
    """

    def __init__(self, step: Step, inputs: Sequence[Dataset], output: Dataset):
        self.step, self.inputs, self.output = step, tuple(inputs), output

    def run(self, connection: DuckDBPyConnection, rows: pa.Table, sides: Sequence[str]) -> Outcome:
        """The step over one chunk; `sides` are the quoted names of the tables with its other inputs."""
        if rows.num_rows == 0:
            return Outcome(self.output.schema.empty_table(), BadRows(), [StepCounts(self.step.id, self.step.verb)])
        expansion = self.step.operator.expansion([quoted(_INPUT), *sides], self.inputs)
        assert expansion is not None, self.step.verb  # noqa: S101  # the chain cuts such steps only
        return self._run(connection, rows, expansion)

    def _run(self, connection: DuckDBPyConnection, rows: pa.Table, expansion: Expansion) -> Outcome:
        import duckdb

        names = list(relation_names(rows.column_names).values())
        chunk = rows.rename_columns(names).append_column(ROW_COLUMN, places(rows.num_rows))
        connection.register(_INPUT, expansion.prepare(chunk) if expansion.prepare else chunk)
        order = f" ORDER BY {quoted(ROW_COLUMN)}, {expansion.order}" if expansion.order else ""
        try:
            found = connection.sql(f"SELECT * FROM ({expansion.sql}){order}").to_arrow_table()
        except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException) as error:
            meant = refusal(error, self.step)
            if isinstance(meant, DuplicateError):
                raise meant from None
            if rows.num_rows == 1:
                return self._failed(rows, str(error))
        except duckdb.Error as error:
            raise refusal(error, self.step) from None
        else:
            return self._outcome(rows, found, expansion)
        finally:
            connection.unregister(_INPUT)
        half = rows.num_rows // 2
        first, second = (self._run(connection, part, expansion) for part in (rows.slice(0, half), rows.slice(half)))
        return joined(first, half, second, rows.num_rows - half)

    def _outcome(self, rows: pa.Table, found: pa.Table, expansion: Expansion) -> Outcome:
        width = len(self.output.columns)
        found = _ordered(found, width)
        place, code = found.column(width), found.column(width + 1)
        bad = BadRows()
        good = pc.equal(code, pa.scalar(0, code.type))
        refused: Any = pa.array([], pa.int64())
        if not pc.all(good, min_count=0).as_py():
            refused = place.filter(pc.invert(good))
            codes = code.filter(pc.invert(good))
            bad = bad_rows(self.step.id, expansion.faults, codes, rows.take(refused))
            found, place = found.filter(good), place.filter(good)
        distinct = _distinct(place.to_numpy())
        counts = StepCounts(self.step.id, self.step.verb, rows_in=rows.num_rows, rows_out=found.num_rows)
        counts.quarantined = len(bad)
        counts.generated = found.num_rows - distinct
        counts.filtered = rows.num_rows - distinct - len(bad)
        counts.check()
        own = place.to_numpy()
        left = missing(rows.num_rows, own, refused) if counts.filtered else None
        return Outcome(conform(found.select(range(width)), self.output.schema), bad, [counts], own, left)

    def _failed(self, rows: pa.Table, message: str) -> Outcome:
        counts = StepCounts(self.step.id, self.step.verb, rows_in=1, quarantined=1)
        words = message.split("\n", maxsplit=1)[0]
        original = originals(conform(rows, self.inputs[0].schema))[0]
        shape = shape_of(self.inputs[0].schema)
        bad = BadRow(self.step.id, f"{self.step.verb}.failed", "", None, original, words, shape=shape)
        return Outcome(self.output.schema.empty_table(), BadRows([bad]), [counts], np.empty(0, np.int64))


def _distinct(places: Any) -> int:
    """How many different numbers there are in an ordered array."""
    return int(np.count_nonzero(places[1:] != places[:-1])) + 1 if len(places) else 0


def _ordered(rows: pa.Table, width: int) -> pa.Table:
    """The rows in the order of the rows they were made of; mostly they are."""
    place = rows.column(width).to_numpy()
    if bool(np.all(place[1:] >= place[:-1])):
        return rows
    return rows.take(np.argsort(place, kind="stable"))
