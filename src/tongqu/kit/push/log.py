"""A pushed stream as a log: what came is kept first and then read, so nothing that counted is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from tongqu.core.data import Batch, Dataset, Position
from tongqu.core.log import Finding, Follow, Lag, Log
from tongqu.kit.messages.parsed import Decoded, Messages
from tongqu.kit.messages.reader import Reader, learn
from tongqu.kit.messages.settings import MessageSettings
from tongqu.kit.push.receiver import Receiver
from tongqu.kit.push.spool import Spool
from tongqu.kit.queue.reading import Records
from tongqu.kit.queue.turn import Topic, Turn

_META: dict[str, pa.Field[Any]] = {
    "_id": pa.field("_id", pa.string()),
    "_event": pa.field("_event", pa.string()),
    "_received_at": pa.field("_received_at", pa.timestamp("us", "UTC"), nullable=False),
}


@dataclass(frozen=True)
class Told:
    """What some messages say: their values and keys, columns of what else is known, and the sync that wrote each."""

    values: Sequence[bytes | None]
    meta: Mapping[str, Any]
    keys: Sequence[bytes | None] = ()
    origins: Sequence[str | None] = ()


@dataclass(frozen=True)
class Pushed:
    """A stream whose fields are known."""

    name: str
    settings: MessageSettings
    metadata: tuple[str, ...] = ()

    def columns(self) -> Sequence[pa.Field[Any]]:
        """The columns of what is known of each message beside its text."""
        return [_META[name] for name in self.metadata]

    def told(self, rows: pa.RecordBatch) -> Told:
        """What messages say, as they were kept."""
        meta: dict[str, Any] = {name: rows.column(name.removeprefix("_")) for name in self.metadata}
        return Told(rows.column("value").to_pylist(), meta)

    def reader(self) -> Reader:
        """What turns its messages into rows."""
        fields, key = learn(self.settings, [], [])
        return Reader(self.settings, fields, key, self.columns())

    def finished(self, decoded: Decoded, told: Told) -> Decoded:
        """Rows of messages, with where they come of if any tells it."""
        del told
        return decoded

    def dataset(self) -> Dataset:
        """The dataset."""
        reader = self.reader()
        return Dataset(self.name, reader.schema, key=reader.key)


class PushLog(Log):
    """The messages of one stream from where we first listened. While it is read it is received too, by one process of
    all that read it; what others have received is read from the disk."""

    def __init__(self, spool: Spool, name: str, pushed: Pushed, receiver: Callable[[], Receiver]):
        self._spool, self._name, self._pushed, self._receiver = spool, name, pushed, receiver
        self._reader = pushed.reader()
        self.changes = pushed.settings.changes

    def begin(self) -> Position:
        """See Log.begin: at the oldest message that is kept."""
        self._spool.declare(self._pushed.name)
        topic = self._pushed.name
        after = self._spool.queue.do(lambda t: t.register(topic, self._name, t.need(topic).trimmed)).result()
        return self._spool.queue.position(after)

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        queue, topic = self._spool.queue, self._pushed.name
        mark = queue.position(0)
        receiver = self._receiver()
        receiver.start()
        try:
            for records in queue.read([topic], follow.after, until=follow.until, stop=follow.stop):
                receiver.check()
                if records is None:
                    yield Batch(topic, self._nothing(), None, kind="heartbeat")
                else:
                    yield self._batch(records, {**mark, "after": records.last})
        finally:
            receiver.close()

    def _nothing(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([], schema=self._reader.schema)

    def _batch(self, records: Records, position: Position) -> Batch:
        rows, first = records.rows, records.first
        said = self._pushed.told(rows)

        def details(number: int) -> dict[str, Any]:
            at = datetime.fromtimestamp(records.at, UTC).isoformat(timespec="milliseconds")
            return {"stream": self._pushed.name, "number": first + number, "kept_at": at}

        told = Messages(
            said.values, said.keys, lambda n: f"stream {self._pushed.name}, message {first + n}", details, said.meta
        )
        decoded = self._pushed.finished(self._reader.decode(told), said)
        return Batch(self._pushed.name, decoded.rows, position, bad=decoded.bad)

    def head(self) -> Position:
        """See Log.head: the last message that came so far; nobody knows what the other side has yet to send."""
        return self._spool.queue.position(self._topic().last)

    def _topic(self) -> Topic:
        return next(one for one in self._spool.queue.topics() if one.name == self._pushed.name)

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        return int(position["after"]) >= int(until["after"])

    def acknowledge(self, position: Position) -> None:
        """See Log.acknowledge."""
        after, topic = int(position["after"]), self._pushed.name

        def work(turn: Turn) -> None:
            turn.confirm(self._name, [topic], after)

        self._spool.queue.do(work)

    def lag(self, position: Position) -> Lag:
        """See Log.lag: of what came; the other side's own lag is not known."""
        return Lag(rows=max(0, self._topic().last - int(position["after"])))

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        resume = self._spool.resume(self._pushed.name)
        if resume:
            return [Finding("resume", "ok", f"after a pause the stream goes on behind {json.dumps(resume)}")]
        return [
            Finding("resume", "warning", "messages have no ids yet: what is sent while we are away is not sent again",
                    "have the sender number its messages, and reconcile after a pause")
        ]  # fmt: skip

    def forget(self) -> None:
        """See Log.forget."""
        self._spool.queue.do(lambda turn: turn.forget(self._name, [self._pushed.name])).result()

    def close(self) -> None:
        """See Log.close."""
        self._spool.close()
