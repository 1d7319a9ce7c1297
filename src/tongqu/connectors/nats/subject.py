"""One dataset: some of a stream's messages as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.connectors.nats.jetstream import told
from tongqu.connectors.nats.wire import Message
from tongqu.kit.messages.table import MessageTable, held, json_column, json_texts

KEY_HEADER, ORIGIN_HEADER, RUN_HEADER = "Tongqu-Key", "Tongqu-Origin", "Tongqu-Run"
"""Headers of messages that are written: the key of the row as JSON, the sync it comes of, so that loops can be seen,
and its run."""
ID_HEADER = "Nats-Msg-Id"
_TYPES: dict[str, pa.Field[Any]] = {
    "_subject": pa.field("_subject", pa.string(), nullable=False),
    "_sequence": pa.field("_sequence", pa.int64(), nullable=False),
    "_timestamp": pa.field("_timestamp", pa.timestamp("us", "UTC"), nullable=False),
    "_message_id": pa.field("_message_id", pa.string()),
    "_headers": json_column("_headers"),
}


@dataclass(frozen=True)
class Subject(MessageTable):
    """See MessageTable."""

    offers: ClassVar = _TYPES
    unique: ClassVar = (("_sequence",),)

    def values(self, messages: Sequence[Message]) -> Sequence[bytes | None]:
        """See MessageTable.values."""
        return held([message.data for message in messages], self.settings.envelope)

    def keys(self, messages: Sequence[Message]) -> Sequence[bytes | None]:
        """See MessageTable.keys."""
        return [key_of(message) for message in messages] if self.settings.envelope == "upsert" else ()

    def origins(self, messages: Sequence[Message]) -> list[str | None]:
        """See MessageTable.origins."""
        return [_header(message, ORIGIN_HEADER) for message in messages]

    def place(self, message: Message) -> str:
        """See MessageTable.place."""
        return f"stream {self.settings.stream}, sequence {told(message)[0]}, subject {message.subject}"

    def details(self, message: Message) -> dict[str, Any]:
        """See MessageTable.details."""
        return {"stream": self.settings.stream, "sequence": told(message)[0], "subject": message.subject}

    def column(self, name: str, messages: Sequence[Message]) -> Any:
        """See MessageTable.column."""
        return _column(name, messages)


def key_of(message: Message) -> bytes | None:
    """The key of the row, where its writer told it."""
    found = _header(message, KEY_HEADER)
    return None if found is None else found.encode()


def _header(message: Message, name: str) -> str | None:
    wanted = name.lower()
    return next((value for one, value in message.headers() if one.lower() == wanted), None) if message.head else None


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
    return json_texts([message.headers() if message.head else None for message in messages])
