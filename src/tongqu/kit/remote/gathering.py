"""Rows that wait at home until all have come, because calls are made of more than one chunk of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from tongqu.core.connector import Session
from tongqu.core.data import Checkpoint, Split, Written
from tongqu.kit.faults import crash_point
from tongqu.kit.remote.calls import Scope
from tongqu.kit.remote.journal import Books, now
from tongqu.kit.remote.session import RemoteSession, note_checkpoint
from tongqu.kit.remote.writer import Writer

if TYPE_CHECKING:
    from tongqu.kit.remote.sink import Landing, RemoteSink

GATHERED = "#gathered"
"""The part of a stream that the calls of gathered rows belong to."""


class GatheringSession(Session):
    """Keeps one split's rows in the journal, in the transaction of their checkpoint."""

    def __init__(self, sink: RemoteSink, landing: Landing, split: Split):
        self._sink = sink
        self._landing = landing
        self._split = split
        self._rows: list[pa.Table] = []

    def write(self, rows: pa.Table) -> Written:
        """See Session.write: rows count as inserted until `finish` tells what became of them."""
        written = Written(bytes=rows.nbytes)
        if self._landing.settled.sieving:
            from tongqu.kit.sieve import sieved

            rows = sieved(self._landing.settled.sieving, rows, written)
        self._rows.append(rows)
        written.inserted = rows.num_rows
        crash_point("mid_write")
        return written

    def commit(self, checkpoint: Checkpoint) -> None:
        """See Session.commit."""
        write = self._landing.write
        with self._sink.journal.transaction() as books:
            for rows in self._rows:
                if rows.num_rows:
                    books.waiting.put(write.sync, write.stream, self._split.id, _packed(rows))
            note_checkpoint(books, self._landing, checkpoint)
            crash_point("in_commit")
        self._rows = []

    def abort(self) -> None:
        """See Session.abort."""
        self._rows = []

    def close(self) -> None:
        """See Session.close."""
        self.abort()


def send_gathered(sink: RemoteSink, landing: Landing, writer: Writer) -> Written:
    """Send what has waited; calls that an earlier attempt made are not made again."""
    write = landing.write
    with sink.journal.transaction() as books:
        blocks = books.waiting.blocks(write.sync, write.stream)
    if not blocks:
        return Written()
    rows = pa.concat_tables([pa.ipc.open_stream(block).read_all() for block in blocks], promote_options="permissive")
    session = RemoteSession(sink, landing, writer, Split(GATHERED, write.dataset.name))
    try:
        return session.write(rows)
    finally:
        session.close()


def settle_gathered(books: Books, landing: Landing, written: Written) -> None:
    """Quarantine the rows whose calls were refused, and forget what has waited; in the transaction of the finish."""
    write = landing.write
    if written.refused:
        first = f"{write.run}-{write.stream}-{GATHERED}-{landing.fence:09d}"
        books.ledger.quarantine.add(
            sync=write.sync, run=write.run, stream=write.stream, first=first, rows=written.refused, at=now()
        )
    books.calls.commit(
        Scope(write.sync, write.stream, write.dataset.name, write.run, GATHERED, ""), done=True, at=now()
    )
    books.waiting.drop(write.sync, write.stream)


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue().to_pybytes()
