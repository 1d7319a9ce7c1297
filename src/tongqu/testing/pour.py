"""Drives one stream through a sink by hand, a chunk per table, as the engine does: for tests of connectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace

import pyarrow as pa

from tongqu.core.connector import Session, Sink, Source
from tongqu.core.data import Batch, Checkpoint, Counts, Dataset, Mode, Position, Read, Split, Write, Written


def pour(sink: Sink, write: Write, chunks: Iterable[pa.Table], *, restart: bool = False) -> Counts:
    """Start the run, write each table as one committed chunk with position `{"n": number}`, finish and end.

    A run that stopped early goes on after its last committed chunk. Returns the stream's counts.
    """
    started = sink.start(write.sync, write.run, restart)
    write = replace(write, run=started.run)
    opened = sink.open(write)
    if opened.finished:
        return opened.counts
    split = Split("0", write.dataset.name)
    at = opened.checkpoints.get("0")
    if at is None:
        sink.begin(write, [split])
        at = Checkpoint(split, None, Counts())
    counts = at.counts
    done = (at.position or {"n": 0})["n"]
    if not at.done:
        with closing(sink.session(write, split)) as session:
            for number, rows in enumerate(chunks, 1):
                if number > done:
                    refused = put(session, rows, counts).refused
                    done = number
                    session.commit(Checkpoint(split, {"n": done}, counts, quarantine=tuple(refused)))
            session.commit(Checkpoint(split, {"n": done}, counts, done=True))
    written = sink.finish(write, counts, None)
    sink.end(write.sync, write.run, [write])
    return corrected(counts, written)


def put(session: Session, rows: pa.Table, counts: Counts) -> Written:
    """Write one table into the session's open transaction and add its numbers to the counts."""
    written = session.write(rows)
    counts.read += rows.num_rows
    counts.add(
        Counts(
            inserted=written.inserted,
            updated=written.updated,
            deleted=written.deleted,
            unchanged=written.unchanged,
            merged=written.merged,
            quarantined=len(written.refused),
            discarded=written.discarded,
        )
    )
    return written


def corrected(counts: Counts, written: Written) -> Counts:
    """The counts once staged rows are visible: what `finish` returns replaces them, if it returns anything."""
    if written == Written():
        return counts
    return replace(
        counts,
        inserted=written.inserted,
        updated=written.updated,
        deleted=written.deleted,
        unchanged=written.unchanged,
        merged=written.merged,
        quarantined=counts.quarantined + len(written.refused),
    )


def batches(source: Source, dataset: Dataset, after: Position | None = None, rows: int = 65_536) -> Iterator[Batch]:
    """A full read of the first split, in batches of at most about `rows` rows."""
    split = source.splits(dataset, 1)[0]
    return source.read(Read(dataset, split, after=after, batch_rows=rows, chunk_rows=rows, mode=Mode.FULL))


def table(source: Source, name: str) -> pa.Table:
    """All rows of a dataset; fails if any is bad."""
    dataset = source.datasets([name])[0]
    found = list(batches(source, dataset))
    assert not [row for batch in found for row in batch.bad]
    return pa.Table.from_batches([batch.rows for batch in found], schema=dataset.schema)
