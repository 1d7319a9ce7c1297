"""One dataset: a queue's messages as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.handed.line import ID, KEY, ORIGIN, Letter
from tongqu.kit.messages.parsed import Decoded
from tongqu.kit.messages.reader import learn
from tongqu.kit.messages.registry import SchemaRegistry
from tongqu.kit.messages.table import MessageTable, held, instants, json_column, json_texts

_COLUMNS: dict[str, pa.Field[Any]] = {
    "_message_id": pa.field("_message_id", pa.string()),
    "_destination": pa.field("_destination", pa.string()),
    "_timestamp": pa.field("_timestamp", pa.timestamp("us", "UTC")),
    "_redelivered": pa.field("_redelivered", pa.bool_(), nullable=False),
    "_content_type": pa.field("_content_type", pa.string()),
    "_headers": json_column("_headers"),
}


class Queue(MessageTable):
    """See MessageTable."""

    offers: ClassVar = _COLUMNS
    unique: ClassVar = (("_message_id",),)

    @classmethod
    def of(cls, name: str, settings: Any, registry: SchemaRegistry | None) -> Queue:
        """The queue of a dataset; raises InvalidSettingsError where its fields are not declared."""
        if not settings.fields and settings.format not in ("text", "bytes"):
            raise InvalidSettingsError(
                f"the fields of {name!r} must be declared: looking at its messages would take them from others",
                path=f"queues.{name}.fields", hint="fields: {id: int64, …}, or format: text",
            )  # fmt: skip
        fields, key = learn(settings, [], [], registry)
        return cls(name, settings, tuple(fields), tuple(key), registry)

    def values(self, messages: Sequence[Letter]) -> Sequence[bytes | None]:
        """See MessageTable.values."""
        return held([message.body for message in messages], self.settings.envelope)

    def keys(self, messages: Sequence[Letter]) -> Sequence[bytes | None]:
        """See MessageTable.keys."""
        found = [message.headers.get(KEY) for message in messages]
        return [None if key is None else key.encode() for key in found]

    def origins(self, messages: Sequence[Letter]) -> list[str | None]:
        """See MessageTable.origins."""
        return [message.headers.get(ORIGIN) for message in messages]

    def place(self, message: Letter) -> str:
        """See MessageTable.place."""
        told = _id(message)
        return f"queue {self.settings.queue}, message {told or 'without id'}"

    def details(self, message: Letter) -> Mapping[str, Any]:
        """See MessageTable.details."""
        told = {"queue": self.settings.queue, "id": _id(message), "destination": message.to}
        return told | {"content_type": message.kind, "headers": dict(message.headers)}

    def column(self, name: str, messages: Sequence[Letter]) -> Any:
        """See MessageTable.column."""
        kind = _COLUMNS[name].type
        if name == "_headers":
            return json_texts([dict(message.headers) for message in messages])
        if name == "_message_id":
            return pa.array([_id(message) for message in messages], kind)
        if name == "_timestamp":
            return instants([message.at for message in messages], kind)
        if name == "_redelivered":
            return pa.array([message.redelivered for message in messages], kind)
        told = {"_destination": "to", "_content_type": "kind"}[name]
        return pa.array([getattr(message, told) or None for message in messages], kind)

    def refused(self, decoded: Decoded, messages: Sequence[Letter]) -> set[int]:
        """Numbers of the messages that the broker is to put with its dead letters."""
        if not decoded.bad or self.settings.bad != "reject":
            return set()
        read = set(decoded.places.tolist())
        values = self.values(messages)
        return {number for number in range(len(messages)) if number not in read and values[number] is not None}


def _id(message: Letter) -> str | None:
    return message.headers.get(ID) or message.id
