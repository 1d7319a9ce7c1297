"""One topic as a dataset: its settings, its fields, and its messages as rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from tongqu.connectors.kafka.settings import TopicSettings
from tongqu.core.data import Dataset, Meta
from tongqu.core.log import ORIGIN, UNCHANGED
from tongqu.kit.messages.parsed import Decoded, Messages, readable
from tongqu.kit.messages.reader import Reader
from tongqu.kit.messages.registry import SchemaRegistry

ORIGIN_HEADER, RUN_HEADER = "tongqu-origin", "tongqu-run"
"""Headers of every message that is written: the sync it comes of, so that loops can be seen, and its run."""
_TYPES: dict[str, pa.Field[Any]] = {
    "_topic": pa.field("_topic", pa.string(), nullable=False),
    "_partition": pa.field("_partition", pa.int32(), nullable=False),
    "_offset": pa.field("_offset", pa.int64(), nullable=False),
    "_timestamp": pa.field("_timestamp", pa.timestamp("ms", "UTC")),
    "_key": pa.field("_key", pa.string()),
    "_headers": pa.field("_headers", pa.string(), metadata={Meta.LOGICAL.value: "json"}),
}


@dataclass(frozen=True)
class Topic:
    """A topic whose fields are known."""

    dataset: str
    settings: TopicSettings
    fields: tuple[pa.Field[Any], ...]
    key: tuple[str, ...]
    registry: SchemaRegistry | None = None

    @property
    def name(self) -> str:
        """The topic's own name."""
        return self.settings.topic

    def described(self, rows: int | None = None) -> Dataset:
        """The dataset."""
        schema = pa.schema([*self.fields, *self._meta])
        key = self.key
        if not key and {"_partition", "_offset"} <= set(self.settings.metadata):
            key = ("_partition", "_offset")
        return Dataset(self.dataset, schema, key=key, rows=rows)

    @property
    def _meta(self) -> list[pa.Field[Any]]:
        return [_TYPES[name] for name in self.settings.metadata]

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.settings, self.fields, self.key, self._meta, self.registry)

    def rows(self, messages: Sequence[Any]) -> Decoded:
        """The driver's messages as rows."""
        meta: dict[str, Any] = {name: _told(name, messages) for name in self.settings.metadata}
        keyed = self.settings.envelope == "upsert"
        given = Messages(
            [message.value() for message in messages],
            [message.key() for message in messages] if keyed else _Keys(messages),
            lambda n: f"topic {self.name}, partition {messages[n].partition()}, offset {messages[n].offset()}",
            lambda n: {"topic": self.name, "partition": messages[n].partition(), "offset": messages[n].offset()},
            meta,
        )
        decoded = self._reader.decode(given)
        return _with_origin(decoded, messages) if self.settings.changes else decoded


def _with_origin(decoded: Decoded, messages: Sequence[Any]) -> Decoded:
    """The changes with who made them, where a header tells."""
    found: list[str | None] = []
    for place in decoded.places.tolist():
        held = dict(messages[place].headers() or ())
        found.append(readable(held.get(ORIGIN_HEADER)))
    if not any(found):
        return decoded
    names = decoded.rows.schema.names
    place = names.index(UNCHANGED) if UNCHANGED in names else len(names)
    rows = decoded.rows.add_column(place, ORIGIN, pa.array(found, pa.string()))
    return replace(decoded, rows=rows)


class _Keys(Sequence[bytes | None]):
    """The messages' keys, each asked for when it is needed."""

    def __init__(self, messages: Sequence[Any]):
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, number: Any) -> Any:
        return self._messages[number].key()


def _told(name: str, messages: Sequence[Any]) -> Any:
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
    held = [message.headers() for message in messages]
    texts = [None if not one else json.dumps([[k, readable(v)] for k, v in one], ensure_ascii=False) for one in held]
    return pa.array(texts, kind)
