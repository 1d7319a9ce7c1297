"""The first load of streams that follow a log of changes: all rows as they were when the log began to be kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Counts, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import CancelledError
from tongqu.core.events import Emit, Event, StreamEnded
from tongqu.core.log import AT, OP, ORIGIN, UNCHANGED, Log
from tongqu.engine.job import Job, Stream
from tongqu.engine.report import Report, StreamReport

if TYPE_CHECKING:
    from tongqu.engine.following.job import Asked

STAMP: tuple[pa.Field[Any], ...] = (
    pa.field(OP, pa.string()), pa.field(AT, pa.timestamp("us", "UTC")), pa.field(ORIGIN, pa.string()),
    pa.field(UNCHANGED, pa.string()),
)  # fmt: skip
"""What a target that keeps every change is told of each; `_unchanged` as a JSON list, null where there is none."""


def stamped(dataset: Dataset) -> Dataset:
    """The dataset with what happened, when and by whom as columns, for targets that keep every change: no key is unique
    in them, and of a deleted row only that may be known."""
    fields = [field.with_nullable(True) for field in dataset.schema]
    return Dataset(dataset.name, pa.schema([*fields, *STAMP]), (), dataset.cursor, dataset.title, dataset.rows)


def first_load(
    asked: Asked, streams: Sequence[Stream], log: Log, load: Callable[[Job, Emit], Report],
    reports: Sequence[StreamReport], *, again: int,
) -> dict[str, Counts]:  # fmt: skip
    """Load the streams in full and return the counts of those that could be; the others have their problem in their
    report. The load is a sync of its own with the same run: after a crash it goes on, and finished it is not done
    again. `again`: how often they were read anew. Raises CancelledError if stopping was asked for."""
    snapshot = None if again else log.snapshot()
    try:
        wanted = [_full(stream, snapshot or stream.source, again) for stream in streams]
        job = Job(wanted, asked.job.restart, asked.job.limits, run=asked.run)
        report = load(job, _without_ends(asked.emit))
    finally:
        if snapshot is not None:
            snapshot.close()
    by_name = {one.name: one for one in reports}
    for one in report.streams:
        by_name[one.name].counts = one.counts
        by_name[one.name].schema = one.schema
        by_name[one.name].status, by_name[one.name].problem = one.status, one.problem
    if asked.around.stop.is_set() or report.status == "stopped":
        raise CancelledError("stopped during the first load")
    return {one.name: replace(one.counts) for one in report.streams if one.problem is None}


def _full(stream: Stream, source: Source, again: int) -> Stream:
    name = f"load {stream.sync} {again}" if again else f"load {stream.sync}"
    sync = hashlib.sha256(name.encode()).hexdigest()[:32]
    alone = replace(stream.source_dataset, foreign_keys=())  # changes of several tables are committed one by one
    made = replace(stream, mode=Mode.FULL, source=source, source_dataset=alone, sync=sync, lane=None, cursor=None)
    if stream.write.value != "append":
        return made
    dataset = stamped(stream.source_dataset)
    chain = None if stream.chain is None else stream.chain.over(dataset)
    return replace(made, key=(), source=Stamped(source, stream.source_dataset), source_dataset=dataset, chain=chain)


def _without_ends(emit: Emit) -> Emit:
    """The stream goes on when its load has ended."""

    def told(event: Event) -> None:
        if not isinstance(event, StreamEnded):
            emit(event)

    return told


@dataclass
class Stamped(Source):
    """A source's full reads, each row marked as read."""

    source: Source
    dataset: Dataset

    def check(self) -> Iterator[str]:
        """See Source.check."""
        return self.source.check()

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        return [stamped(one) for one in self.source.datasets(patterns)]

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume."""
        del dataset
        return self.source.can_resume(self.dataset)

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits."""
        del dataset
        return self.source.splits(self.dataset, wanted)

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        for batch in self.source.read(replace(read, dataset=self.dataset)):
            rows = batch.rows
            for one in STAMP:
                values: Any = pa.nulls(rows.num_rows, one.type)
                if one.name == OP:
                    values = pa.array(["r"] * rows.num_rows, pa.string())
                rows = rows.append_column(one, values)
            yield replace(batch, rows=rows)

    def acknowledge(self, split: Split, position: Position) -> None:
        """See Source.acknowledge."""
        self.source.acknowledge(split, position)

    def close(self) -> None:
        """See Source.close. The source belongs to the log."""
