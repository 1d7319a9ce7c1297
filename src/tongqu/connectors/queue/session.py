"""One split's way into a topic: rows become blocks, which a commit appends together with its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tongqu.connectors.queue.landing import Landing, now
from tongqu.core.connector import Session
from tongqu.core.data import Checkpoint, Split, Written
from tongqu.core.errors import InvalidPlanError
from tongqu.core.log import UNCHANGED
from tongqu.kit.faults import crash_point
from tongqu.kit.ledger import Ledger
from tongqu.kit.queue.queue import Queue
from tongqu.kit.queue.shaping import marked, shaped
from tongqu.kit.queue.turn import Block, Turn, blocks

if TYPE_CHECKING:
    import pyarrow as pa


_MOST_BYTES = 32 << 20
"""What a session keeps in memory; more is put aside in the queue's file until the commit."""


class QueueSession(Session):
    """Rows wait here until the commit, which is one transaction of the log for its readers."""

    def __init__(self, queue: Queue, landing: Landing, split: Split):
        self._queue, self._landing, self._split = queue, landing, split
        self._aside = f"{landing.stage}#{split.id}"
        self._waiting: list[tuple[pa.Schema, list[Block]]] = []
        self._bytes = 0
        self._spilled = False
        self._cleared = False

    def write(self, rows: pa.Table) -> Written:
        """See Session.write. Rows of a topic of changes that do not say what happened to them are `r`."""
        written = Written(bytes=rows.nbytes)
        if self._landing.settled.sieving:
            from tongqu.kit.sieve import sieved

            rows = sieved(self._landing.settled.sieving, rows, written)
        self._keep(marked(rows, "r") if self._landing.changes else rows)
        written.inserted = rows.num_rows
        crash_point("mid_write")
        return written

    def remove(self, rows: pa.Table) -> int:
        """See Session.remove: the log tells that they are gone, whether it told of them before or not."""
        self._changes_only("delete")
        self._keep(marked(rows, "d"))
        return rows.num_rows

    def amend(self, rows: pa.Table) -> int:
        """See Session.amend: the columns that the rows lack are told as unchanged."""
        import pyarrow as pa

        self._changes_only("change")
        lacks = [name for name in self._landing.schema.names if name not in rows.schema.names]
        unchanged = pa.array([lacks] * rows.num_rows, pa.list_(pa.string()))
        self._keep(marked(rows.append_column(UNCHANGED, unchanged), "u"))
        return rows.num_rows

    def clear(self) -> int:
        """See Session.clear: the log tells that everything before this is gone; how much that is it does not know."""
        self._changes_only("clear")
        self.abort()
        self._cleared = True
        return 0

    def _changes_only(self, what: str) -> None:
        if not self._landing.changes:
            raise InvalidPlanError(
                f"the topic {self._landing.topic!r} holds messages, not changes: there is nothing to {what}",
                path=self._landing.write.stream,
                hint="write by upsert, which makes a topic of changes",
            )

    def _keep(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        found = shaped(rows, self._landing.schema, control=self._landing.changes)
        made = list(blocks(found))
        self._waiting.append((found.schema, made))
        self._bytes += sum(len(block.body) for block in made)
        if self._bytes > _MOST_BYTES:
            waiting = self._taken()
            self._spilled = True
            self._queue.do(lambda turn: self._put(turn, self._aside, waiting), _MOST_BYTES).result()

    def _taken(self) -> list[tuple[pa.Schema, list[Block]]]:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        return waiting

    def _put(self, turn: Turn, stage: str, waiting: list[tuple[pa.Schema, list[Block]]]) -> None:
        for schema, made in waiting:
            turn.put_aside(stage, self._landing.topic, made, schema)

    def commit(self, checkpoint: Checkpoint) -> None:
        """See Session.commit: position, counts, quarantine and the records, in one transaction of the queue's file,
        which waits for the disk together with those of others."""
        landing, size = self._landing, self._bytes
        waiting = self._taken()

        def work(turn: Turn) -> None:
            stage = landing.stage if landing.staged else self._aside
            if landing.staged and self._spilled:
                turn.rename(self._aside, stage)
            self._put(turn, stage, waiting)
            if not landing.staged:
                began = turn.last
                if self._cleared:
                    turn.truncate(landing.topic)
                turn.publish(stage, landing.topic)
                if turn.last > began:
                    turn.end()
            _note(turn, landing, checkpoint)
            crash_point("in_commit")

        self._queue.do(work, size).result()
        self._spilled = self._cleared = False

    def abort(self) -> None:
        """See Session.abort."""
        self._taken()
        self._cleared = False
        if self._spilled:
            self._spilled = False
            self._queue.do(lambda turn: turn.discard(self._aside)).result()

    def close(self) -> None:
        """See Session.close: what was put aside and never committed is thrown away when the stream is opened next."""
        self._taken()


def _note(turn: Turn, landing: Landing, checkpoint: Checkpoint) -> None:
    """Store position, counts and quarantined rows of a chunk; raises FencedError if the fence is not ours."""
    write, at, ledger = landing.write, now(), Ledger(turn.db)
    if checkpoint.quarantine:
        counted = checkpoint.counts.quarantined + checkpoint.counts.repaired
        first = f"{write.run}-{write.stream}-{checkpoint.split.id}-{counted:09d}"
        ledger.quarantine.add(
            sync=write.sync, run=write.run, stream=write.stream, first=first, rows=checkpoint.quarantine, at=at
        )
    if checkpoint.settled:
        ledger.quarantine.settle(checkpoint.settled)
    ledger.advance(write.sync, write.stream, landing.fence, checkpoint, at)
