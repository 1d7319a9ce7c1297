"""A graph of steps over several sources, shown to the engine as one source that reads the rows of one sink."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from tongqu.core.arrow import pa
from tongqu.core.bad_rows import BadRows
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Counts, Dataset, Read, Split
from tongqu.core.errors import CancelledError, QualityError
from tongqu.core.operator import Step
from tongqu.core.plan import Plan

if TYPE_CHECKING:
    from tongqu.engine.graph import Graph, GraphRun


def graph_of(plan: Plan, datasets: Mapping[str, Dataset], *, threads: int = 1, memory_mb: int = 512) -> Graph:
    """A graph; loads what makes one."""
    from tongqu.engine.graph import Graph

    return Graph(plan, datasets, threads=threads, memory_mb=memory_mb)


class GraphSource(Source):
    """Reads what a graph makes for one of its sinks. It cannot be cut: a read that was interrupted begins anew.

    The counts that go with the rows balance: what the sources gave plus what the steps generated is what reached the
    sink, was filtered, deduplicated or quarantined.
    """

    resumable = False

    def __init__(self, graph: Graph, sources: Mapping[str, Source], sink: str):
        self._graph = graph
        self._sources = sources
        self._sink = sink
        self.one_instant = all(source.one_instant for source in sources.values())
        self.dataset: Dataset = graph.outputs[sink]
        """What comes out."""

    @property
    def tables(self) -> dict[str, str]:
        """The dataset of each source."""
        return {name: self._graph.datasets[name].name for name in self._graph.plan.sources}

    @property
    def lineage(self) -> dict[str, set[tuple[str, str]]]:
        """For each column the (source, column) pairs its values come from."""
        return self._graph.lineage()[self._sink]

    @property
    def copies(self) -> dict[str, tuple[str, str]]:
        """The columns that are unchanged copies, with the source and column they copy."""
        return self._graph.copies()[self._sink]

    @property
    def links(self) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        """Pairs of (source, column) that are equal in the rows that steps bring together."""
        return self._graph.links()

    @property
    def steps(self) -> Sequence[Step]:
        """The steps between, in order."""
        return self._graph.plan.steps

    def check(self) -> Iterator[str]:
        """All sources, one after the other."""
        for name, source in self._sources.items():
            for stage in source.check():
                yield f"{name}: {stage}"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """The one dataset."""
        del patterns
        return [self.dataset]

    def read(self, read: Read) -> Iterator[Batch]:
        """All rows, without positions; the last batch is empty and carries the counts."""
        unread = BadRows()
        openers = {name: partial(self._open, name, read, unread) for name in self._graph.plan.sources}
        total = Counts()
        with self._graph.open(openers) as run:
            for rows in run.read(self._sink):
                if read.stop.is_set():
                    return
                bad = _taken(run.bad, unread)
                total.inserted += rows.num_rows
                total.quarantined += bad.refused
                yield Batch(self.dataset.name, rows, None, bad=bad)
            bad = _taken(run.bad, unread)
            total.quarantined += bad.refused
            yield self._last(run, total, bad)

    def _last(self, run: GraphRun, total: Counts, bad: BadRows) -> Batch:
        """The counts, less what the engine counts by itself: each row and each bad row as read."""
        unparsed = total.quarantined - sum(step.quarantined for step in run.steps)
        read = sum(run.read_rows.values()) + unparsed
        out, refused = total.inserted, total.quarantined
        filtered = sum(step.filtered for step in run.steps)
        deduplicated = sum(step.deduplicated for step in run.steps)
        counts = Counts(
            read=read - out - refused,
            filtered=filtered,
            deduplicated=deduplicated,
            generated=out + filtered + deduplicated + refused - read,
            steps={step.step: step for step in run.steps},
        )
        empty = pa.RecordBatch.from_pylist([], schema=self.dataset.schema)
        return Batch(self.dataset.name, empty, {"end": True}, bad=bad, counts=counts)

    def _open(self, name: str, read: Read, unread: BadRows) -> pa.RecordBatchReader:
        dataset = self._graph.datasets[name]
        rows = _rows(self._sources[name], dataset, read, unread, read.stop)
        return pa.RecordBatchReader.from_batches(dataset.schema, rows)


def looked_up(graph: Graph, sources: Mapping[str, Source], name: str, stop: Event) -> Iterator[pa.Table]:
    """The rows of a dataset that steps look up, all of them. Raises QualityError if one of them is refused: a row that
    is missing there would be a wrong answer for the rows that look for it. Raises CancelledError when stopped."""
    source = GraphSource(graph, sources, name)
    for batch in source.read(Read(source.dataset, Split("0", source.dataset.name), stop=stop)):
        refused = next((row for row in batch.bad if row.refused), None)
        if refused is not None:
            raise QualityError(
                f"{name!r} is looked up, and one of its rows is refused: {refused.message}",
                hint="mend the row, or filter such rows out before",
            )
        yield pa.Table.from_batches([batch.rows])
    if stop.is_set():
        raise CancelledError(f"stopped while {name!r} was read to look things up in")


def _rows(source: Source, dataset: Dataset, read: Read, unread: BadRows, stop: Event) -> Iterator[pa.RecordBatch]:
    for split in source.splits(dataset, 1):
        wanted = Read(dataset, split, batch_rows=read.batch_rows, chunk_rows=read.chunk_rows, stop=stop)
        for batch in source.read(wanted):
            unread.extend(batch.bad)
            yield batch.rows.cast(dataset.schema) if batch.rows.schema != dataset.schema else batch.rows


def _taken(first: BadRows, second: BadRows) -> BadRows:
    return first.take() + second.take()
