"""How rows flow between steps of a graph: counted, appended, spooled, and through whole-input queries."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.bad_rows import BadRows
from tongqu.core.balance import StepCounts
from tongqu.core.data import Dataset
from tongqu.core.errors import CastError, DuplicateError, RunError, SchemaError, TongquError
from tongqu.core.operator import Fault, Step
from tongqu.engine.refused import bad_rows
from tongqu.engine.segment import conform
from tongqu.meaning.dataset_rules import newest_of
from tongqu.meaning.expressions import column
from tongqu.meaning.sandbox import DUPLICATE, FAULT_COLUMN, ROW_COLUMN, open_sandbox, quoted, relation_names

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Flow = Iterator[pa.Table]
"""Tables of some rows each, in order, all of one schema."""


_OWN_SHARE = 0.7
"""DuckDB's part of the memory it may have: beyond its limit it holds about 40 % more, and batches wait around it."""


class Engine:
    """The database and files of one execution. One memory limit holds for all its queries; each query has its own
    connection, and they pull rows from one another."""

    def __init__(self, threads: int, memory_mb: int, temp_directory: Path | str | None, batch_rows: int):
        self.batch_rows = batch_rows
        self.folder = Path(tempfile.mkdtemp(prefix="tongqu-", dir=temp_directory))
        self._database = open_sandbox(threads, round(memory_mb * _OWN_SHARE), self.folder / "spill")
        self._cleanup = contextlib.ExitStack()
        self._cleanup.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._cleanup.callback(self._database.close)
        self._spools = 0

    def connection(self) -> DuckDBPyConnection:
        """A connection for one query."""
        made = self._database.cursor()
        self._cleanup.callback(made.close)
        return made

    def spool(self, schema: pa.Schema, rows: Callable[[], Flow]) -> Spool:
        """A file for rows that several take."""
        self._spools += 1
        return Spool(self.folder / f"spool-{self._spools}.arrow", schema, rows)

    def closing(self, close: Callable[[], None]) -> None:
        """Call this when the execution is closed."""
        self._cleanup.callback(close)

    def close(self) -> None:
        """Close connections and delete files; may be called twice."""
        self._cleanup.close()


class Spool:
    """Rows written once, when first asked for, and read by each taker."""

    def __init__(self, path: Path, schema: pa.Schema, rows: Callable[[], Flow]):
        self._path, self._schema, self._rows = path, schema, rows
        self._lock = threading.Lock()
        self._written = False

    def read(self) -> Flow:
        """All rows from the beginning."""
        with self._lock:
            if not self._written:
                self._write()
                self._written = True
        with pa.OSFile(str(self._path), "rb") as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch], schema=self._schema)

    def _write(self) -> None:
        options = pa.ipc.IpcWriteOptions(compression="lz4" if pa.Codec.is_available("lz4_frame") else None)
        with pa.OSFile(str(self._path), "wb") as file, pa.ipc.new_stream(file, self._schema, options=options) as writer:
            for table in self._rows():
                writer.write_table(table)


def conformed(reader: Iterable[pa.RecordBatch], dataset: Dataset) -> Flow:
    """A source's batches as tables of exactly the dataset's schema; raises SchemaError for other columns."""
    for batch in reader:
        if batch.schema.names != dataset.schema.names:
            raise SchemaError(
                f"rows of {dataset.name!r} have other columns than planned: {', '.join(batch.schema.names)}",
                hint=f"planned: {', '.join(dataset.columns)}",
            )
        yield conform(pa.Table.from_batches([batch]), dataset.schema)


def counted(rows: Flow, counts: StepCounts, name: str) -> Flow:
    """The same rows, counted into one number of the step."""
    for table in rows:
        setattr(counts, name, getattr(counts, name) + table.num_rows)
        yield table


def marked(rows: Flow, counts: StepCounts, column: str) -> Flow:
    """The same rows, counted by the values of one column."""
    for table in rows:
        found: Any = pc.value_counts(table.column(column))
        for mark, number in zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True):
            counts.marks[mark] = counts.marks.get(mark, 0) + number
        yield table


def appended(flows: Sequence[Flow]) -> Flow:
    """One flow after the other."""
    for flow in flows:
        yield from flow


def whole_sql(engine: Engine, step: Step, inputs: Sequence[Dataset], flows: Sequence[Flow], output: Dataset) -> Flow:
    """One query over all rows of its inputs. Inputs are read to their end even where the query needs no more."""
    names = [f"input{number}" for number in range(len(inputs))]
    query = step.operator.sql([quoted(name) for name in names], inputs)
    yield from whole_query(
        engine, step, query, dict(zip(names, zip(inputs, flows, strict=True), strict=True)), output.schema
    )


def whole_python(step: Step, inputs: Sequence[Dataset], flows: Sequence[Flow]) -> Flow:
    """A Python step that must see all rows: they are gathered in memory."""
    tables = [pa.concat_tables([d.schema.empty_table(), *flow]) for d, flow in zip(inputs, flows, strict=True)]
    yield step.operator.apply(tables, inputs)


def uniques(engine: Engine, step: Step, dataset: Dataset, rows: Flow, *, counts: StepCounts, bad: BadRows) -> Flow:
    """A check with `unique` rules: rows that break a rule of their own do not count as holders of a value; of rows with
    the same value the first is good."""
    codes: dict[int, Fault] = dict(enumerate(step.operator.faults(dataset), start=1))
    fields: tuple[str, ...] = getattr(step.operator, "unique_fields", ())
    names = relation_names(dataset.columns)
    plain = ", ".join(quoted(names[c]) for c in dataset.columns)
    from tongqu.meaning.expressions import render

    whens = " ".join(f"WHEN {render(fault.condition, names)} THEN {code}" for code, fault in codes.items())
    own = f"CAST(CASE {whens} ELSE 0 END AS SMALLINT)" if whens else "CAST(0 AS SMALLINT)"
    ranks, tests = [], [f"WHEN {quoted(FAULT_COLUMN)} <> 0 THEN {quoted(FAULT_COLUMN)}"]
    for number, name in enumerate(fields):
        code = len(codes) + 1
        codes[code] = Fault("check.unique", name, column(name), "comes more than once")
        part = f"PARTITION BY {quoted(names[name])}, {quoted(FAULT_COLUMN)} = 0 ORDER BY {quoted(ROW_COLUMN)}"
        ranks.append(f"row_number() OVER ({part}) AS _tongqu_rank{number}")
        tests.append(f"WHEN {quoted(names[name])} IS NOT NULL AND _tongqu_rank{number} > 1 THEN {code}")
    query = (
        f"SELECT {plain}, CAST(CASE {' '.join(tests)} ELSE 0 END AS SMALLINT) AS {quoted(FAULT_COLUMN)} "
        f"FROM (SELECT *, {', '.join(ranks)} FROM (SELECT *, {own} AS {quoted(FAULT_COLUMN)}, "
        f"row_number() OVER () AS {quoted(ROW_COLUMN)} FROM input0)) ORDER BY {quoted(ROW_COLUMN)}"
    )
    schema = dataset.schema.append(pa.field(FAULT_COLUMN, pa.int16()))
    for table in whole_query(engine, step, query, {"input0": (dataset, counted(rows, counts, "rows_in"))}, schema):
        status = table.column(FAULT_COLUMN)
        good = pc.equal(status, pa.scalar(0, pa.int16()))
        plain_rows = table.drop_columns([FAULT_COLUMN])
        refused = plain_rows.filter(pc.invert(good))
        if refused.num_rows:
            bad.extend(bad_rows(step.id, codes, status.filter(pc.invert(good)), refused))
        counts.quarantined += refused.num_rows
        counts.rows_out += table.num_rows - refused.num_rows
        fine = plain_rows.filter(good)
        if step.operator.newest:
            counts.see(newest_of(fine.column(step.operator.newest)))
        yield fine
    counts.check()


def entered(dataset: Dataset, flow: Flow, failures: list[BaseException]) -> pa.RecordBatchReader:
    """The rows under the names that their columns have inside DuckDB; what goes wrong while they are made is kept."""
    columns = list(relation_names(dataset.columns).values())
    inside = pa.schema([field.with_name(new) for field, new in zip(dataset.schema, columns, strict=True)])
    return pa.RecordBatchReader.from_batches(inside, _batches(flow, columns, failures))


def refusal(error: Exception, step: Step) -> TongquError:
    """What a query's error means for its step."""
    import duckdb

    words = str(error).splitlines()[0]
    if DUPLICATE in words:
        what = words.split(DUPLICATE, maxsplit=1)[1]
        return DuplicateError(f"step {step.id!r}: {what}", path=step.path, params={"step": step.id, "what": what})
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
        return CastError(f"step {step.id!r}: {words}", path=step.path, hint="check or cast the values before")
    hint = "give it more memory or disk" if isinstance(error, duckdb.OutOfMemoryException) else ""
    return RunError(f"step {step.id!r} failed: {words}", path=step.path, hint=hint)


def whole_query(
    engine: Engine, step: Step, query: str, inputs: dict[str, tuple[Dataset, Flow]], schema: pa.Schema
) -> Flow:
    """The rows of a query over relations with these names; raises CastError or RunError naming the step."""
    import duckdb

    failures: list[BaseException] = []
    connection = engine.connection()
    readers: list[pa.RecordBatchReader] = []
    for name, (dataset, flow) in inputs.items():
        reader = entered(dataset, flow, failures)
        connection.register(name, reader)
        readers.append(reader)
    for name, table in step.operator.relations().items():
        connection.register(name, table)
    try:
        result = connection.sql(query).to_arrow_reader(engine.batch_rows)
        for batch in result:
            yield conform(pa.Table.from_batches([batch]), schema)
        for reader in readers:
            for _ in reader:
                continue
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if failures:
            raise failures[0] from None
        raise refusal(error, step) from None
    finally:
        connection.close()


def _batches(flow: Flow, columns: list[str], failures: list[BaseException]) -> Iterator[pa.RecordBatch]:
    """Batches for a query; what goes wrong while making them is kept, since the query would only show its text."""
    try:
        for table in flow:
            yield from table.rename_columns(columns).to_batches()
    except BaseException as error:
        failures.append(error)
        raise
