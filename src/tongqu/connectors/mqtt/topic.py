"""What a message of MQTT says besides its body, as it is kept and as columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.connectors.mqtt.codec import CONTENT_TYPE, Publish
from tongqu.connectors.mqtt.settings import TopicSettings
from tongqu.kit.messages.parsed import Decoded
from tongqu.kit.messages.table import json_column, with_origin
from tongqu.kit.push.log import Pushed, Told

KEY, ORIGIN_NAME, RUN, ID = "tongqu-key", "tongqu-origin", "tongqu-run", "tongqu-id"
"""User properties of messages that are written: the key of the row as JSON, the sync it comes of, so that loops can be
seen, its run, and what stays the same when it is sent again."""
_COLUMNS: dict[str, pa.Field[Any]] = {
    "_topic": pa.field("_topic", pa.string(), nullable=False),
    "_qos": pa.field("_qos", pa.int8(), nullable=False),
    "_retained": pa.field("_retained", pa.bool_(), nullable=False),
    "_content_type": pa.field("_content_type", pa.string()),
    "_user_properties": json_column("_user_properties"),
    "_message_id": pa.field("_message_id", pa.string()),
    "_received_at": pa.field("_received_at", pa.timestamp("us", "UTC"), nullable=False),
}


def noted(came: Publish) -> str:
    """What is kept beside the body."""
    told = {"topic": came.topic, "qos": came.qos, "retained": came.retain, "user": came.properties.user}
    return json.dumps(told | {"type": came.properties.values.get(CONTENT_TYPE)}, ensure_ascii=False)


@dataclass(frozen=True)
class Topic(Pushed):
    """The messages of one topic filter, whose fields are known."""

    @classmethod
    def of(cls, name: str, settings: TopicSettings) -> Topic:
        """The topic of a dataset."""
        return cls(name, settings, settings.metadata)

    def columns(self) -> Sequence[pa.Field[Any]]:
        """See Pushed.columns."""
        return [_COLUMNS[name] for name in self.metadata]

    def told(self, rows: pa.RecordBatch) -> Told:
        """See Pushed.told. An empty message is none where messages tell the newest state of a key."""
        bodies: list[Any] = rows.column("value").to_pylist()
        notes = [json.loads(str(text)) for text in rows.column("event").to_pylist()]
        newest = self.settings.envelope == "upsert"
        keys = [_user(note, KEY) for note in notes] if newest else []
        meta = {name: _column(name, notes, rows) for name in self.metadata}
        return Told(
            [body or None for body in bodies] if newest else bodies, meta,
            [None if key is None else key.encode() for key in keys], [_user(note, ORIGIN_NAME) for note in notes],
        )  # fmt: skip

    def finished(self, decoded: Decoded, told: Told) -> Decoded:
        """See Pushed.finished."""
        if not self.settings.changes:
            return decoded
        return with_origin(decoded, [told.origins[place] for place in decoded.places.tolist()])


def _user(note: dict[str, Any], name: str) -> str | None:
    return next((value for one, value in note["user"] if one == name), None)


def _column(name: str, notes: Sequence[dict[str, Any]], rows: pa.RecordBatch) -> Any:
    if name == "_received_at":
        return rows.column("received_at")
    kind = _COLUMNS[name].type
    if name == "_user_properties":
        return pa.array([json.dumps(one["user"], ensure_ascii=False) if one["user"] else None for one in notes], kind)
    if name == "_message_id":
        return pa.array([_user(one, ID) for one in notes], kind)
    told = {"_topic": "topic", "_qos": "qos", "_retained": "retained", "_content_type": "type"}[name]
    return pa.array([one[told] for one in notes], kind)
