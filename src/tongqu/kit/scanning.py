"""Makes any source's rows readable for DuckDB: as they come they go into a temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import pyarrow as pa

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Read, Split
from tongqu.core.errors import CancelledError
from tongqu.core.scan import Scan
from tongqu.kit.drivers import driver

_ROWS, _KEPT = "_tongqu_rows", "_tongqu_scan"
_PLACES = 32
"""A sample is taken from the beginnings of up to this many parts of the dataset."""


@contextmanager
def spooled(source: Source, dataset: Dataset, sample: int | None = None, stop: Event | None = None) -> Iterator[Scan]:
    """The dataset's rows, or about `sample` of them, in a DuckDB file that is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="tongqu-scan-") as folder:
        connection = driver("duckdb", "duckdb").connect(str(Path(folder) / "scan.duckdb"))
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register(_ROWS, dataset.schema.empty_table())
            connection.execute(f"CREATE TABLE {_KEPT} AS FROM {_ROWS}")
            rows = unreadable = 0
            for batch in _batches(source, dataset, sample, stop or Event()):
                unreadable += len(batch.bad)
                if batch.rows.num_rows:
                    rows += batch.rows.num_rows
                    connection.register(_ROWS, pa.Table.from_batches([batch.rows]))
                    connection.execute(f"INSERT INTO {_KEPT} FROM {_ROWS}")
            yield Scan(connection, _KEPT, sampled=sample is not None and rows >= sample, unreadable=unreadable)
        finally:
            connection.close()


def _batches(source: Source, dataset: Dataset, sample: int | None, stop: Event) -> Iterator[Batch]:
    """All batches, or so many rows from the beginning of each part that together they are about `sample`."""
    splits = source.splits(dataset, _PLACES if sample else 1)
    left = sample
    for number, split in enumerate(splits):
        share = None if left is None else max(left // (len(splits) - number), 1)
        for batch in _some(source, dataset, split, share, stop):
            if left is not None:
                left -= batch.rows.num_rows
            yield batch
        if left is not None and left <= 0:
            return


def _some(source: Source, dataset: Dataset, split: Split, rows: int | None, stop: Event) -> Iterator[Batch]:
    read = Read(dataset, split, stop=stop)
    if rows is not None:
        read = replace(read, batch_rows=min(rows, read.batch_rows), chunk_rows=rows, limit=rows)
    for batch in source.read(read):
        if stop.is_set():
            raise CancelledError("stopped while reading")
        if rows is not None and batch.rows.num_rows > rows:
            batch = Batch(batch.dataset, batch.rows.slice(0, rows), None, bad=batch.bad)  # noqa: PLW2901  # cut to measure
        yield batch
        if rows is not None:
            rows -= batch.rows.num_rows
            if rows <= 0:
                return
