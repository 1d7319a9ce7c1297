"""What logs of messages have in common: rows as batches, and the empty table that a log of changes begins with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position, Read
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.messages.parsed import Decoded
from tongqu.kit.messages.table import MessageTable


class Nothing(Source):
    """The table that a log of changes begins with: what the log holds from its beginning adds up to the rows."""

    def __init__(self, datasets: Sequence[Dataset]):
        self._datasets = list(datasets)

    def check(self) -> Iterator[str]:
        """See Source.check."""
        yield "nothing to read"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        return [one for one in self._datasets if patterns is None or one.name in patterns]

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        rows = empty(read.dataset)
        yield Batch(read.dataset.name, rows if read.columns is None else rows.select(list(read.columns)), {"end": True})


def only_changes(name: str, noun: str, tables: Sequence[MessageTable]) -> bool:
    """Whether a log of these tells changes; raises InvalidPlanError where some do and some do not."""
    kinds = {table.settings.changes for table in tables}
    if len(kinds) > 1:
        raise InvalidPlanError(
            f"{noun}s of changes and {noun}s of plain messages are followed by streams of their own", path=name,
            hint="put them into two pipelines",
        )  # fmt: skip
    return True in kinds


def beginning(tables: Sequence[MessageTable]) -> Source | None:
    """The snapshot of a log: nothing has to be read beside changes, which are read from their beginning."""
    if not any(table.settings.changes for table in tables):
        return None
    return Nothing([table.described() for table in tables])


def empty(dataset: Dataset) -> pa.RecordBatch:
    """No rows of a dataset."""
    return pa.RecordBatch.from_pylist([], schema=dataset.schema)


def heartbeat(dataset: Dataset, position: Position) -> Batch:
    """Nothing came."""
    return Batch(dataset.name, empty(dataset), position, kind="heartbeat")


def batches(decoded: Sequence[tuple[str, Decoded]], position: Position) -> list[Batch]:
    """Rows of datasets as batches, cut where a table was emptied; what could not be read is with the last of its
    dataset. The position is that of the last batch of all."""
    made = [batch for dataset, one in decoded for batch in _cut(dataset, one)]
    if made:
        last = made[-1]
        made[-1] = Batch(last.dataset, last.rows, position, kind=last.kind, bad=last.bad)
    return made


def _cut(dataset: str, decoded: Decoded) -> Iterator[Batch]:
    start = 0
    for at in decoded.truncates:
        if at > start:
            yield Batch(dataset, decoded.rows.slice(start, at - start), None)
        yield Batch(dataset, decoded.rows.slice(at, 0), None, kind="truncate")
        start = at
    yield Batch(dataset, decoded.rows.slice(start), None, bad=decoded.bad)
