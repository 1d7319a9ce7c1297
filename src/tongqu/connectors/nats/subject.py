"""One dataset: some of a stream's messages as rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from tongqu.connectors.nats.jetstream import told
from tongqu.connectors.nats.settings import StreamSettings
from tongqu.connectors.nats.wire import Message
from tongqu.core.data import Dataset, Meta
from tongqu.core.log import ORIGIN, UNCHANGED
from tongqu.kit.messages.parsed import Decoded, Messages
from tongqu.kit.messages.reader import Reader
from tongqu.kit.messages.registry import SchemaRegistry

KEY_HEADER, ORIGIN_HEADER, RUN_HEADER = "Tongqu-Key", "Tongqu-Origin", "Tongqu-Run"
"""Headers of messages that are written: the key of the row as JSON, the sync it comes of, so that loops can be seen,
and its run."""
ID_HEADER = "Nats-Msg-Id"
_TYPES: dict[str, pa.Field[Any]] = {
    "_subject": pa.field("_subject", pa.string(), nullable=False),
    "_sequence": pa.field("_sequence", pa.int64(), nullable=False),
    "_timestamp": pa.field("_timestamp", pa.timestamp("us", "UTC"), nullable=False),
    "_message_id": pa.field("_message_id", pa.string()),
    "_headers": pa.field("_headers", pa.string(), metadata={Meta.LOGICAL.value: "json"}),
}


@dataclass(frozen=True)
class Subject:
    """A dataset whose fields are known."""

    dataset: str
    settings: StreamSettings
    fields: tuple[pa.Field[Any], ...]
    key: tuple[str, ...]
    registry: SchemaRegistry | None = None

    def described(self) -> Dataset:
        """The dataset."""
        key = self.key or (("_sequence",) if "_sequence" in self.settings.metadata else ())
        return Dataset(self.dataset, pa.schema([*self.fields, *self._meta]), key=key)

    @property
    def _meta(self) -> list[pa.Field[Any]]:
        return [_TYPES[name] for name in self.settings.metadata]

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.settings, self.fields, self.key, self._meta, self.registry)

    def rows(self, messages: Sequence[Message]) -> Decoded:
        """Messages as rows."""
        stream = self.settings.stream
        given = Messages(
            values(self.settings, messages),
            [key_of(message) for message in messages] if self.settings.envelope == "upsert" else (),
            lambda n: f"stream {stream}, sequence {told(messages[n])[0]}, subject {messages[n].subject}",
            lambda n: {"stream": stream, "sequence": told(messages[n])[0], "subject": messages[n].subject},
            {name: _column(name, messages) for name in self.settings.metadata},
        )
        decoded = self._reader.decode(given)
        return _with_origin(decoded, messages) if self.settings.changes else decoded


def values(settings: StreamSettings, messages: Sequence[Message]) -> list[bytes | None]:
    """What messages hold; an empty one is none where messages tell the newest state of a key."""
    if settings.envelope == "upsert":
        return [message.data or None for message in messages]
    return [message.data for message in messages]


def key_of(message: Message) -> bytes | None:
    """The key of the row, where its writer told it."""
    found = _header(message, KEY_HEADER)
    return None if found is None else found.encode()


def _header(message: Message, name: str) -> str | None:
    wanted = name.lower()
    return next((value for one, value in message.headers() if one.lower() == wanted), None) if message.head else None


def _with_origin(decoded: Decoded, messages: Sequence[Message]) -> Decoded:
    found = [_header(messages[place], ORIGIN_HEADER) for place in decoded.places.tolist()]
    if not any(found):
        return decoded
    names = decoded.rows.schema.names
    place = names.index(UNCHANGED) if UNCHANGED in names else len(names)
    return replace(decoded, rows=decoded.rows.add_column(place, ORIGIN, pa.array(found, pa.string())))


def _column(name: str, messages: Sequence[Message]) -> Any:
    kind = _TYPES[name].type
    if name == "_subject":
        return pa.array([message.subject for message in messages], kind)
    if name == "_sequence":
        return pa.array([told(message)[0] for message in messages], kind)
    if name == "_timestamp":
        return pa.array([told(message)[2] // 1000 for message in messages], pa.int64()).cast(kind)
    if name == "_message_id":
        return pa.array([_header(message, ID_HEADER) for message in messages], kind)
    held = [message.headers() if message.head else None for message in messages]
    return pa.array([None if one is None else json.dumps(one, ensure_ascii=False) for one in held], kind)
