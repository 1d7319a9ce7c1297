"""One split's way into a topic: rows become messages of the open transaction, and the position goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from time import time_ns
from typing import TYPE_CHECKING, Any

from tongqu.core.connector import Session
from tongqu.core.data import BadRow, Checkpoint, Split, WriteMode, Written
from tongqu.core.errors import InvalidPlanError
from tongqu.core.kernels import pc
from tongqu.kit.faults import crash_point
from tongqu.kit.messages.encoder import Encoded
from tongqu.kit.sql.session import bad_row

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.connectors.kafka.sink import KafkaSink, Landing


class KafkaSession(Session):
    """Writes one split; a topic's streams have one transaction at a time."""

    def __init__(self, sink: KafkaSink, landing: Landing, split: Split):
        self._sink, self._landing, self._split = sink, landing, split

    def write(self, rows: pa.Table) -> Written:
        """See Session.write. Rows that no message can hold are refused; all others are counted as inserted."""
        landing = self._landing
        written = Written()
        if landing.settled.sieving:
            from tongqu.kit.sieve import sieved

            rows = sieved(landing.settled.sieving, rows, written)
        if landing.write.mode is not WriteMode.APPEND:
            rows = self._named(rows, written)
        if rows.num_rows == 0:
            return written
        op = "c" if landing.write.mode is WriteMode.APPEND else "u"
        messages = landing.encoder.encode(rows, _now(), op)
        refused = self._send(messages)
        for number, reason in sorted(refused.items()):
            written.refused.append(bad_row(rows.slice(number, 1), "target.refused", reason))
        written.inserted += rows.num_rows - len(refused)
        written.bytes += sum(len(value or b"") for value in messages.values)
        return written

    def remove(self, rows: pa.Table) -> int:
        """See Session.remove: the keys' tombstones, or what the envelope has for them."""
        if not self._sink.removes(self._landing.write):
            raise InvalidPlanError(
                f"deletes cannot be told in {self._landing.topic}", path=self._landing.write.stream,
                hint="write by upsert with a key",
            )  # fmt: skip
        if rows.num_rows:
            refused = self._send(self._landing.encoder.gone(rows, _now()))
            assert not refused, refused  # noqa: S101  # a key is smaller than its row
        return rows.num_rows

    def _named(self, rows: pa.Table, written: Written) -> pa.Table:
        key = self._landing.write.key
        nulls: list[Any] = [rows.column(name).is_null() for name in key if rows.column(name).null_count]
        if not nulls:
            return rows
        bad: Any = reduce(pc.or_, nulls)
        nameless = rows.filter(bad)
        message = f"a key column ({', '.join(key)}) is null"
        for place in range(nameless.num_rows):
            written.refused.append(bad_row(nameless.slice(place, 1), "key.null", message, field=key[0]))
        return rows.filter(pc.invert(bad))

    def _send(self, messages: Encoded) -> dict[int, str]:
        landing = self._landing
        landing.pen.begin()
        if not landing.pen.transactional:
            self._sink.hold(landing)
        refused = landing.pen.send(landing.topic, messages, landing.headers)
        crash_point("mid_write")
        return refused

    def commit(self, checkpoint: Checkpoint) -> None:
        """See Session.commit."""
        self._sink.commit(self._landing, checkpoint)

    def set_aside(self, rows: Sequence[BadRow], counts: Any) -> bool:
        """See Session.set_aside."""
        self._landing.pen.begin()
        self._sink.keep(self._landing, self._split, rows, counts)
        return True

    def abort(self) -> None:
        """See Session.abort."""
        self._landing.pen.abort()
        self._sink.forget()

    def close(self) -> None:
        """See Session.close."""
        self._landing.pen.abort()


def _now() -> int:
    return time_ns() // 1_000_000
