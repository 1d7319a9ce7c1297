"""One topic as a dataset: its settings, its fields, and its messages as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.kit.messages.parsed import readable
from tongqu.kit.messages.table import MessageTable, json_column, json_texts

ORIGIN_HEADER, RUN_HEADER = "tongqu-origin", "tongqu-run"
"""Headers of every message that is written: the sync it comes of, so that loops can be seen, and its run."""
_TYPES: dict[str, pa.Field[Any]] = {
    "_topic": pa.field("_topic", pa.string(), nullable=False),
    "_partition": pa.field("_partition", pa.int32(), nullable=False),
    "_offset": pa.field("_offset", pa.int64(), nullable=False),
    "_timestamp": pa.field("_timestamp", pa.timestamp("ms", "UTC")),
    "_key": pa.field("_key", pa.string()),
    "_headers": json_column("_headers"),
}


@dataclass(frozen=True)
class Topic(MessageTable):
    """See MessageTable."""

    offers: ClassVar = _TYPES
    unique: ClassVar = (("_partition", "_offset"),)

    @property
    def name(self) -> str:
        """The topic's own name."""
        return str(self.settings.topic)

    def values(self, messages: Sequence[Any]) -> Sequence[bytes | None]:
        """See MessageTable.values."""
        return [message.value() for message in messages]

    def keys(self, messages: Sequence[Any]) -> Sequence[bytes | None]:
        """See MessageTable.keys."""
        return [message.key() for message in messages] if self.settings.envelope == "upsert" else _Keys(messages)

    def origins(self, messages: Sequence[Any]) -> list[str | None]:
        """See MessageTable.origins."""
        return [readable(dict(message.headers() or ()).get(ORIGIN_HEADER)) for message in messages]

    def place(self, message: Any) -> str:
        """See MessageTable.place."""
        return f"topic {self.name}, partition {message.partition()}, offset {message.offset()}"

    def details(self, message: Any) -> dict[str, Any]:
        """See MessageTable.details."""
        return {"topic": self.name, "partition": message.partition(), "offset": message.offset()}

    def column(self, name: str, messages: Sequence[Any]) -> Any:
        """See MessageTable.column."""
        return _column(name, messages)


class _Keys(Sequence[bytes | None]):
    """The messages' keys, each asked for when it is needed."""

    def __init__(self, messages: Sequence[Any]):
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, number: Any) -> Any:
        return self._messages[number].key()


def _column(name: str, messages: Sequence[Any]) -> Any:
    kind = _TYPES[name].type
    if name == "_topic":
        return pa.array([message.topic() for message in messages], kind)
    if name == "_partition":
        return pa.array([message.partition() for message in messages], kind)
    if name == "_offset":
        return pa.array([message.offset() for message in messages], kind)
    if name == "_timestamp":
        told = [message.timestamp() for message in messages]
        return pa.array([at if known else None for known, at in told], pa.int64()).cast(kind)
    if name == "_key":
        return pa.array([readable(message.key()) for message in messages], kind)
    told = [message.headers() for message in messages]
    return json_texts([[[name, readable(value)] for name, value in one] if one else None for one in told])
