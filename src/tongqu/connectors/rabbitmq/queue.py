"""One dataset: a queue's messages as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.kit.messages.parsed import Decoded
from tongqu.kit.messages.table import MessageTable, held, instants, json_column, json_texts

KEY_HEADER, ORIGIN_HEADER, RUN_HEADER = "tongqu-key", "tongqu-origin", "tongqu-run"
"""Headers of messages that are written: the key of the row as JSON, the sync it comes of, so that loops can be seen,
and its run."""
OFFSET_HEADER = "x-stream-offset"
_TYPES: dict[str, pa.Field[Any]] = {
    "_exchange": pa.field("_exchange", pa.string(), nullable=False),
    "_routing_key": pa.field("_routing_key", pa.string(), nullable=False),
    "_message_id": pa.field("_message_id", pa.string()),
    "_timestamp": pa.field("_timestamp", pa.timestamp("us", "UTC")),
    "_offset": pa.field("_offset", pa.int64()),
    "_redelivered": pa.field("_redelivered", pa.bool_(), nullable=False),
    "_headers": json_column("_headers"),
}


@dataclass(frozen=True)
class Queue(MessageTable):
    """See MessageTable. Rows of a queue are told apart by the message's id where nothing else does."""

    offers: ClassVar = _TYPES

    @property
    def name(self) -> str:
        """The queue's own name."""
        return str(self.settings.queue)

    @property
    def streams(self) -> bool:
        """Whether it keeps its messages and is read by offset."""
        return bool(self.settings.kind == "stream")

    @property
    def unique(self) -> tuple[tuple[str, ...], ...]:  # type: ignore[override]  # depends on the kind of queue
        return (("_offset",), ("_message_id",)) if self.streams else (("_message_id",),)

    def values(self, messages: Sequence[Any]) -> Sequence[bytes | None]:
        """See MessageTable.values."""
        return held([_bytes(message.body) for message in messages], self.settings.envelope)

    def keys(self, messages: Sequence[Any]) -> Sequence[bytes | None]:
        """See MessageTable.keys."""
        return [key_of(message) for message in messages] if self.settings.envelope == "upsert" else ()

    def origins(self, messages: Sequence[Any]) -> list[str | None]:
        """See MessageTable.origins."""
        return [_plain(headers(message).get(ORIGIN_HEADER)) for message in messages]

    def place(self, message: Any) -> str:
        """See MessageTable.place."""
        return f"queue {self.name}, {_place(message)}"

    def details(self, message: Any) -> dict[str, Any]:
        """See MessageTable.details."""
        return _details(self.name, message)

    def column(self, name: str, messages: Sequence[Any]) -> Any:
        """See MessageTable.column."""
        return _column(name, messages)

    def unread(self, decoded: Decoded, messages: Sequence[Any]) -> list[Any]:
        """The messages of which no row could be made."""
        if not decoded.bad:
            return []
        read = set(decoded.places.tolist())
        bodies = self.values(messages)
        return [one for number, one in enumerate(messages) if number not in read and bodies[number] is not None]


def headers(message: Any) -> dict[str, Any]:
    """The headers of a message."""
    return message.properties.get("application_headers") or {}


def key_of(message: Any) -> bytes | None:
    """The key of the row, where its writer told it."""
    found = headers(message).get(KEY_HEADER)
    return None if found is None else _bytes(found)


def offset_of(message: Any) -> int:
    """A message's place in its stream."""
    return int(headers(message)[OFFSET_HEADER])


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _place(message: Any) -> str:
    if OFFSET_HEADER in headers(message):
        return f"offset {offset_of(message)}"
    told = message.properties.get("message_id")
    return f"message {told}" if told else f"routing key {message.delivery_info['routing_key']}"


def _details(queue: str, message: Any) -> dict[str, Any]:
    info = message.delivery_info
    told = {"queue": queue, "exchange": info["exchange"], "routing_key": info["routing_key"]}
    shown = {name: value for name, value in message.properties.items() if name != "application_headers"}
    return told | {"properties": _plain(shown), "headers": _plain(headers(message))}


def _plain(value: Any) -> Any:
    """A value of AMQP as one of JSON."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _column(name: str, messages: Sequence[Any]) -> Any:
    kind = _TYPES[name].type
    if name in ("_exchange", "_routing_key", "_redelivered"):
        return pa.array([message.delivery_info[name[1:]] for message in messages], kind)
    if name == "_message_id":
        return pa.array([message.properties.get("message_id") for message in messages], kind)
    if name == "_offset":
        return pa.array([headers(message).get(OFFSET_HEADER) for message in messages], kind)
    if name == "_timestamp":
        return instants([_seconds(message.properties.get("timestamp")) for message in messages], kind)
    return json_texts([_plain(headers(message)) for message in messages])


def _seconds(value: Any) -> int | None:
    """A time of AMQP (whole seconds) as microseconds since 1970."""
    seconds = value.timestamp() if isinstance(value, datetime) else value
    return None if seconds is None else int(seconds) * 1_000_000
