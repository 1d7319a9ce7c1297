"""Tongqu's own durable queue: topics in a file, written exactly once, followed by any number of pipelines."""

from __future__ import annotations

from tongqu.connectors.queue.settings import QueueSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: QueueSettings) -> Source:
    from tongqu.connectors.queue.source import QueueSource

    return QueueSource(settings)


def _sink(settings: QueueSettings) -> Sink:
    from tongqu.connectors.queue.sink import QueueSink

    return QueueSink(settings)


connector = Connector(
    name="queue",
    title={"zh": "内置持久队列", "en": "Embedded durable queue"},
    settings=QueueSettings,
    can=Can.READ
    | Can.WRITE
    | Can.RESUME
    | Can.APPEND
    | Can.REPLACE
    | Can.TRANSACTIONS
    | Can.EVOLVES
    | Can.CDC
    | Can.STREAM,
    schemes=("queue",),
    from_url=from_url,
    source=_source,
    sink=_sink,
    label="real",
    guarantee={
        "zh": "恰好一次: 记录、隔离行、计数与位点在同一事务中提交",
        "en": "exactly-once effect: records, quarantine, counts and checkpoint commit in one transaction",
    },
    systems=("queue files of this version (real)",),
)
