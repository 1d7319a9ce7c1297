"""One split's way into a topic of a queue: rows become blocks in the open transaction, which a commit ends."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from tongqu.connectors.kafka.queued.blocks import Kind, headers, messages
from tongqu.connectors.kafka.session import KafkaSession
from tongqu.core.data import Checkpoint, Split, Written
from tongqu.core.errors import InvalidPlanError, WriteError
from tongqu.core.log import UNCHANGED
from tongqu.kit.faults import crash_point
from tongqu.kit.messages.encoder import Encoded
from tongqu.kit.queue.shaping import marked, shaped

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.connectors.kafka.sink import KafkaSink, Landing


class QueuedSession(KafkaSession):
    """What is sent is seen with the commit; where a generation is filled (`stage`), when that is finished."""

    def __init__(
        self, sink: KafkaSink, landing: Landing, split: Split, schema: pa.Schema, *, changes: bool, queue: str,
        stage: str,
    ):  # fmt: skip
        super().__init__(sink, landing, split)
        self._schema, self._changes, self._queue, self._stage = schema, changes, queue, stage
        self._began = False

    def write(self, rows: pa.Table) -> Written:
        """See Session.write. Rows of a topic of changes that do not say what happened to them are `r`."""
        written = Written(bytes=rows.nbytes)
        if self._landing.settled.sieving:
            from tongqu.kit.sieve import sieved

            rows = sieved(self._landing.settled.sieving, rows, written)
        self._keep(marked(rows, "r") if self._changes else rows)
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
        lacks = [name for name in self._schema.names if name not in rows.schema.names]
        unchanged = pa.array([lacks] * rows.num_rows, pa.list_(pa.string()))
        self._keep(marked(rows.append_column(UNCHANGED, unchanged), "u"))
        return rows.num_rows

    def clear(self) -> int:
        """See Session.clear: the log tells that everything before this is gone; how much that is it does not know."""
        self._changes_only("clear")
        self._put([("truncate", b"")])
        return 0

    def _changes_only(self, what: str) -> None:
        if not self._changes:
            raise InvalidPlanError(
                f"the topic {self._landing.topic!r} holds messages, not changes: there is nothing to {what}",
                path=self._landing.write.stream,
                hint="write by upsert, which makes a topic of changes",
            )

    def _keep(self, rows: pa.Table) -> None:
        if rows.num_rows:
            self._put(messages(shaped(rows, self._schema, control=self._changes)))

    def _put(self, made: Iterable[tuple[Kind, bytes]]) -> None:
        self._landing.pen.begin()
        self._began = True
        sent(self._landing, made, self._queue, self._stage)

    def commit(self, checkpoint: Checkpoint) -> None:
        """See Session.commit: blocks, the mark behind them, position, counts and quarantine in one transaction."""
        if self._began and not self._stage:
            self._put([("end", b"")])
        self._began = False
        super().commit(checkpoint)

    def abort(self) -> None:
        """See Session.abort."""
        self._began = False
        super().abort()

    def close(self) -> None:
        """See Session.close."""
        self._began = False
        super().close()


def sent(landing: Landing, made: Iterable[tuple[Kind, bytes]], queue: str, stage: str = "") -> None:
    """Send blocks and marks into the first partition, in the open transaction; raises WriteError for one that brokers
    do not take."""
    for kind, some in groupby(made, key=lambda one: one[0]):
        bodies = [body for _, body in some]
        told = Encoded([None] * len(bodies), bodies)
        refused = landing.pen.send(landing.topic, told, headers(kind, queue, stage), partition=0)
        if refused:
            raise WriteError(
                f"{landing.topic}: {next(iter(refused.values()))}", path=landing.write.stream,
                hint="raise max.message.bytes of the topic to 1 MB, Kafka's own default, or more",
            )  # fmt: skip
