"""One split's way into a topic: rows become blocks, which a commit appends together with its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tongqu.connectors.queue.landing import Landing, now
from tongqu.core.data import Checkpoint, Split
from tongqu.kit.faults import crash_point
from tongqu.kit.ledger import Ledger
from tongqu.kit.queue.queue import Queue
from tongqu.kit.queue.session import Into, TopicSession
from tongqu.kit.queue.turn import Block, Turn, blocks

if TYPE_CHECKING:
    import pyarrow as pa


_MOST_BYTES = 32 << 20
"""What a session keeps in memory; more is put aside in the queue's file until the commit."""


class QueueSession(TopicSession):
    """Rows wait here until the commit, which is one transaction of the log for its readers."""

    def __init__(self, queue: Queue, landing: Landing, split: Split):
        self._queue, self._landing = queue, landing
        self._into = Into(landing.topic, landing.write.stream, landing.schema, landing.filling.changes, landing.settled)
        self._aside = f"{landing.stage}#{split.id}"
        self._waiting: list[tuple[pa.Schema, list[Block]]] = []
        self._bytes = 0
        self._spilled = False
        self._cleared = False

    def clear(self) -> int:
        """See Session.clear: the log tells that everything before this is gone; how much that is it does not know."""
        self._into.changes_only("clear")
        self.abort()
        self._cleared = True
        return 0

    def _keep(self, records: pa.Table) -> None:
        made = list(blocks(records))
        self._waiting.append((records.schema, made))
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
            stage = landing.stage if landing.filling.staged else self._aside
            if landing.filling.staged and self._spilled:
                turn.rename(self._aside, stage)
            self._put(turn, stage, waiting)
            if not landing.filling.staged:
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
