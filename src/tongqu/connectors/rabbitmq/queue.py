"""One dataset: a queue's messages as rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import pyarrow as pa

from tongqu.connectors.rabbitmq.settings import QueueSettings
from tongqu.core.data import Dataset, Meta
from tongqu.core.log import ORIGIN, UNCHANGED
from tongqu.kit.messages.parsed import Decoded, Messages
from tongqu.kit.messages.reader import Reader
from tongqu.kit.messages.registry import SchemaRegistry

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
    "_headers": pa.field("_headers", pa.string(), metadata={Meta.LOGICAL.value: "json"}),
}
_KEYS = ("_offset", "_message_id")


@dataclass(frozen=True)
class Queue:
    """A dataset whose fields are known."""

    dataset: str
    settings: QueueSettings
    fields: tuple[pa.Field[Any], ...]
    key: tuple[str, ...]
    registry: SchemaRegistry | None = None

    @property
    def name(self) -> str:
        """The queue's own name."""
        return self.settings.queue

    @property
    def streams(self) -> bool:
        """Whether it keeps its messages and is read by offset."""
        return self.settings.kind == "stream"

    def described(self) -> Dataset:
        """The dataset. Rows of a queue are told apart by the message's id where nothing else does."""
        told = [name for name in _KEYS if name in self.settings.metadata and (self.streams or name != "_offset")]
        return Dataset(self.dataset, pa.schema([*self.fields, *self._meta]), key=self.key or tuple(told[:1]))

    @property
    def _meta(self) -> list[pa.Field[Any]]:
        return [_TYPES[name] for name in self.settings.metadata]

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.settings, self.fields, self.key, self._meta, self.registry)

    def rows(self, messages: Sequence[Any]) -> Decoded:
        """The driver's messages as rows."""
        given = Messages(
            bodies(self.settings, messages),
            [key_of(message) for message in messages] if self.settings.envelope == "upsert" else (),
            lambda n: f"queue {self.name}, {_place(messages[n])}",
            lambda n: _details(self.name, messages[n]),
            {name: _column(name, messages) for name in self.settings.metadata},
        )
        decoded = self._reader.decode(given)
        return _with_origin(decoded, messages) if self.settings.changes else decoded

    def unread(self, decoded: Decoded, messages: Sequence[Any]) -> list[Any]:
        """The messages of which no row could be made."""
        if not decoded.bad:
            return []
        read = set(decoded.places.tolist())
        bodies_ = bodies(self.settings, messages)
        return [one for number, one in enumerate(messages) if number not in read and bodies_[number] is not None]


def bodies(settings: QueueSettings, messages: Sequence[Any]) -> list[bytes | None]:
    """What messages hold; an empty one is none where messages tell the newest state of a key."""
    held = [_bytes(message.body) for message in messages]
    return [body or None for body in held] if settings.envelope == "upsert" else list(held)


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


def _with_origin(decoded: Decoded, messages: Sequence[Any]) -> Decoded:
    found = [_plain(headers(messages[place]).get(ORIGIN_HEADER)) for place in decoded.places.tolist()]
    if not any(found):
        return decoded
    names = decoded.rows.schema.names
    place = names.index(UNCHANGED) if UNCHANGED in names else len(names)
    return replace(decoded, rows=decoded.rows.add_column(place, ORIGIN, pa.array(found, pa.string())))


def _column(name: str, messages: Sequence[Any]) -> Any:
    kind = _TYPES[name].type
    if name in ("_exchange", "_routing_key", "_redelivered"):
        return pa.array([message.delivery_info[name[1:]] for message in messages], kind)
    if name == "_message_id":
        return pa.array([message.properties.get("message_id") for message in messages], kind)
    if name == "_offset":
        return pa.array([headers(message).get(OFFSET_HEADER) for message in messages], kind)
    if name == "_timestamp":
        return pa.array([_seconds(message.properties.get("timestamp")) for message in messages], pa.int64()).cast(kind)
    texts = [json.dumps(_plain(headers(message)), ensure_ascii=False) for message in messages]
    return pa.array(texts, kind)


def _seconds(value: Any) -> int | None:
    """A time of AMQP (whole seconds) as microseconds since 1970."""
    seconds = value.timestamp() if isinstance(value, datetime) else value
    return None if seconds is None else int(seconds) * 1_000_000
