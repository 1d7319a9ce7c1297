"""One split's way into a topic of a queue: rows become blocks in the open transaction, which a commit ends."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from tongqu.connectors.kafka.queued.blocks import Kind, headers, messages
from tongqu.connectors.kafka.session import KafkaSession
from tongqu.core.data import Checkpoint, Split
from tongqu.core.errors import WriteError
from tongqu.kit.messages.encoder import Encoded
from tongqu.kit.queue.session import Into, TopicSession

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.connectors.kafka.sink import KafkaSink, Landing


class QueuedSession(TopicSession, KafkaSession):
    """What is sent is seen with the commit; where a generation is filled (`stage`), when that is finished."""

    def __init__(
        self, sink: KafkaSink, landing: Landing, split: Split, into: Into, *, queue: str, stage: str
    ):  # fmt: skip
        super().__init__(sink, landing, split)
        self._into, self._queue, self._stage = into, queue, stage
        self._began = False

    def clear(self) -> int:
        """See Session.clear: the log tells that everything before this is gone; how much that is it does not know."""
        self._into.changes_only("clear")
        self._put([("truncate", b"")])
        return 0

    def _keep(self, records: pa.Table) -> None:
        self._put(messages(records))

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
