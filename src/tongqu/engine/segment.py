"""Several row-wise steps as one SELECT over a chunk, with the numbers of each step and the rows they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.bad_rows import BadRows
from tongqu.core.balance import StepCounts
from tongqu.core.data import BadRow, Dataset
from tongqu.core.errors import RunError
from tongqu.core.operator import Fault, Step
from tongqu.engine.refused import bad_rows, repaired_rows
from tongqu.kit.originals import originals, shape_of
from tongqu.meaning.dataset_rules import newest_of
from tongqu.meaning.expressions import is_column, render
from tongqu.meaning.sandbox import FAULT_COLUMN, ROW_COLUMN, quoted, relation_names

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_INPUT = "input"
_CLEANED = "_tongqu_cleaned"
_REPAIRED = "_tongqu_repaired"
_GOOD = pa.scalar(0, pa.int16())


@dataclass
class Outcome:
    """What steps made of a chunk."""

    rows: pa.Table
    bad: BadRows = field(default_factory=BadRows)
    steps: list[StepCounts] = field(default_factory=list)
    places: Any = None
    """Of each row that came out, the place of the row it is made of; None: of every row in turn."""
    left: Any = None
    """The places of the rows that were left out without being refused; None: of none."""


@dataclass
class _Level:
    """One step inside the SELECT: `source` is the SQL it reads, `sql` what it gives (with each row's place in the
    chunk, and the fault column once a step of the segment has faults), `faults` its codes, `kept` counts the rows
    after its filter."""

    step: Step
    before: Dataset
    source: str
    sql: str = ""
    faults: dict[int, Fault] = field(default_factory=dict)
    faulty_sql: str = ""
    kept: str | None = None
    tests: list[tuple[str, str]] = field(default_factory=list)
    """(field, SQL) of each computed column alone, to find which one fails."""


class Segment:
    """Compiled once, then run on any connection that has the chunk registered under the name `input`.

    Order of rows is kept. Rows for which an expression raises (overflow, a failing cast) are found by bisection and
    quarantined as `<verb>.failed`. A step that repairs cells stands alone in its segment.
    """

    def __init__(self, steps: Sequence[Step], datasets: Sequence[Dataset], hidden: Sequence[str] = ()):
        """`datasets` are the input of the first step, then the output of each; `hidden` are columns of the first that
        originals shall not show."""
        self.steps = tuple(steps)
        self.before, self.after, self.hidden = datasets[0], datasets[-1], list(hidden)
        self.repairs = steps[0].operator.repairs(datasets[0]) if len(steps) == 1 else ()
        self.cleans = steps[0].operator.cleaned(datasets[0]) if len(steps) == 1 else ()
        self.levels: list[_Level] = []
        sql, self.faulty = _INPUT, False
        for step, dataset in zip(steps, datasets, strict=False):
            level = self._level(step, dataset, sql)
            self.levels.append(level)
            sql = f"({level.sql})"
        self.sql = self.levels[-1].sql
        filters = [level for level in self.levels if level.kept]
        self.passing = self.faulty and all(map(_passes, self.levels, datasets[1:]))
        """Whether rows go on as they are or not at all, so that only their faults have to be asked for."""
        self.counted = filters[:-1]
        self.filters = filters

    def _level(self, step: Step, dataset: Dataset, source: str) -> _Level:
        projection = step.operator.projection(dataset)
        assert projection is not None, step.verb  # noqa: S101
        names = relation_names(dataset.columns)
        for stage in step.operator.stages(dataset):
            source = f"(SELECT *, {', '.join(f'{sql} AS {quoted(name)}' for name, sql in stage.items())} FROM {source})"
        out = relation_names(list(projection.columns))
        level = _Level(step, dataset, source)
        items = [f"{render(tree, names)} AS {quoted(out[c])}" for c, tree in projection.columns.items()]
        level.tests = [(c, render(tree, names)) for c, tree in projection.columns.items() if not is_column(tree)]
        if projection.where is not None:
            level.tests.insert(0, ("", render(projection.where, names)))
        first = 1 + sum(len(done.faults) for done in self.levels)
        level.faults = dict(enumerate(step.operator.faults(dataset), start=first))
        if level.faults or self.faulty:
            status = self._status(level, names)
            items.append(f"{status} AS {quoted(FAULT_COLUMN)}")
            plain = _plain_columns(dataset)
            level.faulty_sql = f"SELECT {plain}, {status} AS {quoted(FAULT_COLUMN)} FROM {source}"
            self.faulty = True
        items += self._marks(names)
        items.append(quoted(ROW_COLUMN))
        where = f" WHERE {render(projection.where, names)}" if projection.where is not None else ""
        level.sql = f"SELECT {', '.join(items)} FROM {source}{where}"
        level.kept = f"SELECT count(*) FROM {source}{where}" if where else None
        return level

    def _marks(self, names: dict[str, str]) -> list[str]:
        """Columns that say how many cells of a row were cleaned, and which repairs it had."""
        items = [f"{render(r.condition, names)} AS {_REPAIRED}{n}" for n, r in enumerate(self.repairs)]
        if self.cleans:
            cells = " + ".join(f"CASE WHEN {render(test, names)} THEN 1 ELSE 0 END" for test in self.cleans)
            items.append(f"CAST({cells} AS INTEGER) AS {_CLEANED}")
        return items

    def _status(self, level: _Level, names: dict[str, str]) -> str:
        whens = [f"WHEN {quoted(FAULT_COLUMN)} <> 0 THEN {quoted(FAULT_COLUMN)}"] if self.faulty else []
        whens += [f"WHEN {render(fault.condition, names)} THEN {code}" for code, fault in level.faults.items()]
        return f"CAST(CASE {' '.join(whens)} ELSE 0 END AS SMALLINT)"

    def run(self, connection: DuckDBPyConnection, rows: pa.Table) -> Outcome:
        """The steps over one chunk whose columns are those of the first step's input."""
        import duckdb

        if rows.num_rows == 0:
            counts = [StepCounts(level.step.id, level.step.verb) for level in self.levels]
            return Outcome(self.after.schema.empty_table(), BadRows(), counts)
        self._register(connection, rows)
        try:
            if self.passing:
                return self._passed(connection, rows)
            return self._outcome(connection, rows, connection.sql(self.sql).to_arrow_table())
        except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException) as error:
            if rows.num_rows == 1:
                return self._failed(connection, rows, str(error))
        except duckdb.OutOfMemoryException:
            raise RunError("a chunk does not fit into the memory limit", hint="lower chunk_rows") from None
        except duckdb.Error as error:
            raise RunError(f"the steps cannot run: {str(error).splitlines()[0]}") from None
        finally:
            connection.unregister(_INPUT)
        half = rows.num_rows // 2
        first, second = self.run(connection, rows.slice(0, half)), self.run(connection, rows.slice(half))
        return joined(first, half, second, rows.num_rows - half)

    def _register(self, connection: DuckDBPyConnection, rows: pa.Table) -> None:
        names = list(relation_names(rows.column_names).values())
        rows = rows.rename_columns(names) if names != rows.column_names else rows
        connection.register(_INPUT, rows.append_column(ROW_COLUMN, places(rows.num_rows)))
        for step in self.steps:
            for name, table in step.operator.relations().items():
                connection.register(name, table)

    def _outcome(self, connection: DuckDBPyConnection, rows: pa.Table, result: pa.Table) -> Outcome:
        kept = [self._count(connection, level) for level in self.counted] + [result.num_rows] * bool(self.filters)
        bad = BadRows()
        refused: dict[Any, Any] = {}
        dropped: Any = ()
        if self.faulty:
            codes = result.column(FAULT_COLUMN)
            found = pc.value_counts(codes)
            refused = dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True))
            if set(refused) - {0}:
                good = pc.equal(codes, _GOOD)
                dropped = result.column(ROW_COLUMN).filter(pc.invert(good)).to_numpy()
                result = result.filter(good)
                bad = self._bad(connection, _at(rows, dropped))
        repaired = self._repaired(rows, result)
        cleaned = pc.sum(result.column(_CLEANED)).as_py() or 0 if self.cleans else 0
        own = result.column(ROW_COLUMN).to_numpy() if self.filters or len(dropped) else None
        result = result.select(range(len(self.after.columns)))
        counts = self._counts(rows.num_rows, kept, refused)
        counts[0].repaired, counts[0].cleaned = len(repaired), cleaned
        made = self._made(result, bad + repaired, counts)
        made.places = own
        made.left = missing(rows.num_rows, own, dropped) if self.filters else None
        return made

    def _passed(self, connection: DuckDBPyConnection, rows: pa.Table) -> Outcome:
        """The rows without a fault; what has none never goes through the database."""
        codes = connection.sql(f"SELECT {quoted(FAULT_COLUMN)} FROM ({self.sql})").to_arrow_table().column(0)
        found = pc.value_counts(codes)
        refused = dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True))
        bad = BadRows()
        for level in self.levels:
            if refused.keys() & level.faults.keys():
                low, high = min(level.faults), max(level.faults)
                own = pc.and_(
                    pc.greater_equal(codes, pa.scalar(low, pa.int16())),
                    pc.less_equal(codes, pa.scalar(high, pa.int16())),
                )
                original = conform(rows.filter(own), level.before.schema).drop_columns(self.hidden)
                bad.extend(bad_rows(level.step.id, level.faults, codes.filter(own), original))
        counts = self._counts(rows.num_rows, [], refused)
        good = pc.equal(codes, _GOOD)
        made = self._made(rows.filter(good) if bad else rows, bad, counts)
        made.places = np.flatnonzero(good.to_numpy()) if bad else None
        return made

    def _made(self, rows: pa.Table, bad: BadRows, counts: list[StepCounts]) -> Outcome:
        if newest := self.steps[-1].operator.newest:
            counts[-1].newest = newest_of(rows.column(self.after.columns.index(newest)))
        return Outcome(conform(rows, self.after.schema), bad, counts)

    def _counts(self, flow: int, kept: list[int], refused: dict[Any, int]) -> list[StepCounts]:
        """The balanced counts of each step: `kept` rows after each filter, `refused` rows by code."""
        counts: list[StepCounts] = []
        for level in self.levels:
            step = StepCounts(level.step.id, level.step.verb, rows_in=flow)
            if level.kept:
                step.filtered = flow - kept.pop(0)
            step.quarantined = sum(refused.get(code, 0) for code in level.faults)
            flow -= step.filtered + step.quarantined
            step.rows_out = flow
            step.check()
            counts.append(step)
        return counts

    def _repaired(self, rows: pa.Table, result: pa.Table) -> BadRows:
        """Records of the repairs in rows that go on, with the rows as they came in."""
        found = BadRows()
        for number, repair in enumerate(self.repairs):
            hit = result.filter(result.column(f"{_REPAIRED}{number}"))
            if hit.num_rows:
                original = conform(rows.take(hit.column(ROW_COLUMN)), self.before.schema).drop_columns(self.hidden)
                new = hit.column(self.after.columns.index(repair.field))
                found.extend(repaired_rows(self.steps[0].id, repair, original, new))
        return found

    def _count(self, connection: DuckDBPyConnection, level: _Level) -> int:
        return int(connection.sql(level.kept or "").fetchall()[0][0])

    def _bad(self, connection: DuckDBPyConnection, rows: pa.Table) -> BadRows:
        """Records for the input rows that some step refused, in the shape they had before that step."""
        found = BadRows()
        self._register(connection, rows)
        for level in self.levels:
            if level.faults:
                low, high = min(level.faults), max(level.faults)
                status = quoted(FAULT_COLUMN)
                query = f"SELECT * FROM ({level.faulty_sql}) WHERE {status} BETWEEN {low} AND {high}"
                rows = connection.sql(query).to_arrow_table()
                if rows.num_rows == 0:
                    continue
                codes = rows.column(rows.num_columns - 1)
                original = conform(rows.drop_columns([FAULT_COLUMN]), level.before.schema).drop_columns(self.hidden)
                found.extend(bad_rows(level.step.id, level.faults, codes, original))
        return found

    def _failed(self, connection: DuckDBPyConnection, rows: pa.Table, message: str) -> Outcome:
        """The outcome for the one registered row that makes some step raise."""
        import duckdb

        counts = [StepCounts(level.step.id, level.step.verb) for level in self.levels]
        for number, level in enumerate(self.levels):
            try:
                connection.sql(level.sql).to_arrow_table()
            except duckdb.Error:
                for done in counts[:number]:
                    done.rows_in = done.rows_out = 1
                counts[number].rows_in = counts[number].quarantined = 1
                row = connection.sql(f"SELECT {_plain_columns(level.before)} FROM {level.source}").to_arrow_table()
                whole = conform(row, level.before.schema).drop_columns(self.hidden)
                words = message.split("\n", maxsplit=1)[0]
                name = self._failing(connection, level)
                code, (original,), shape = f"{level.step.verb}.failed", originals(whole), shape_of(whole.schema)
                bad = BadRow(level.step.id, code, name, None, original, words, shape=shape)
                return Outcome(self.after.schema.empty_table(), BadRows([bad]), counts, np.empty(0, np.int64))
        raise RunError(f"the steps cannot run: {message.splitlines()[0]}")

    def _failing(self, connection: DuckDBPyConnection, level: _Level) -> str:
        import duckdb

        for name, sql in level.tests:
            try:
                connection.sql(f"SELECT {sql} FROM {level.source}").to_arrow_table()
            except duckdb.Error:
                return name
        return ""


def joined(first: Outcome, ahead: int, second: Outcome, behind: int) -> Outcome:
    """The outcomes of two parts of a chunk, of so many rows each, as that of the whole."""
    for mine, theirs in zip(first.steps, second.steps, strict=True):
        mine.add(theirs)
    made = Outcome(pa.concat_tables([first.rows, second.rows]), first.bad + second.bad, first.steps)
    if first.places is not None or second.places is not None:
        parts = [np.arange(ahead) if first.places is None else first.places]
        parts.append(ahead + (np.arange(behind) if second.places is None else second.places))
        made.places = np.concatenate(parts)
    if first.left is not None or second.left is not None:
        nothing = np.empty(0, np.int64)
        parts = [nothing if first.left is None else first.left]
        parts.append(ahead + (nothing if second.left is None else second.left))
        made.left = np.concatenate(parts)
    return made


def missing(rows: int, *there: Any) -> Any:
    """The places among so many rows that are in none of the arrays."""
    open_ = np.ones(rows, np.bool_)
    for found in there:
        open_[np.asarray(found, np.int64)] = False
    return np.flatnonzero(open_)


def places(rows: int) -> pa.Array[Any]:
    """Each row's place in a chunk of that many rows."""
    arange: Any = getattr(pa, "arange")  # noqa: B009  the type stubs lack it
    made: pa.Array[Any] = arange(0, rows)
    return made


def _passes(level: _Level, after: Dataset) -> bool:
    """Whether a step lets rows pass as they are."""
    before = level.before
    projection = level.step.operator.projection(before)
    assert projection is not None, level.step.verb  # noqa: S101  # the chain cuts such steps only
    same = all(is_column(tree) and tree.name == name for name, tree in projection.columns.items())
    same = same and projection.where is None and before.schema.types == after.schema.types
    changes = level.step.operator.repairs(before) or level.step.operator.cleaned(before)
    return same and before.columns == after.columns and not changes and not level.step.operator.stages(before)


def _at(rows: pa.Table, places: Any) -> pa.Table:
    """The rows at these places, which grow."""
    chosen = np.zeros(rows.num_rows, np.bool_)
    chosen[places] = True
    return rows.filter(pa.array(chosen))


def _plain_columns(dataset: Dataset) -> str:
    return ", ".join(quoted(name) for name in relation_names(dataset.columns).values())


def conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows, whose columns come in the schema's order, with exactly the schema's names, types and metadata."""
    columns = [
        column if column.type == wanted.type else column.cast(wanted.type)
        for column, wanted in zip(rows.columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)
