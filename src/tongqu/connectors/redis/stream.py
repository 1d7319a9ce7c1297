"""One dataset: the entries of a stream as rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.connectors.redis.entries import Entry, numbers
from tongqu.kit.messages.converting import loose_names
from tongqu.kit.messages.parsed import readable
from tongqu.kit.messages.table import MessageTable, held, instants, json_column, json_texts

KEY, ORIGIN, RUN, ID = b"tongqu-key", b"tongqu-origin", b"tongqu-run", b"tongqu-id"
"""Fields of entries that are written, beside the message: the key of the row as JSON, the sync it comes of, so that
loops can be seen, its run, and what stays the same when it is sent again."""
OURS = (KEY, ORIGIN, RUN, ID)
WHOLE = "*"
_COLUMNS: dict[str, pa.Field[Any]] = {
    "_id": pa.field("_id", pa.string(), nullable=False),
    "_timestamp": pa.field("_timestamp", pa.timestamp("ms", "UTC")),
    "_message_id": pa.field("_message_id", pa.string()),
    "_fields": json_column("_fields"),
}


class Stream(MessageTable):
    """See MessageTable."""

    offers: ClassVar = _COLUMNS
    unique: ClassVar = (("_id",),)

    @property
    def name(self) -> str:
        """The stream's own key."""
        return str(self.settings.stream)

    @cached_property
    def _loose(self) -> frozenset[str]:
        return frozenset(loose_names(self.fields))

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(field.name for field in self.fields)

    def values(self, messages: Sequence[Entry]) -> Sequence[bytes | None]:
        """See MessageTable.values. An entry without the field of the message has no value."""
        name = self.settings.field
        if name == WHOLE:
            return [self._document(fields) for _, fields in messages]
        found = [fields.get(name.encode()) for _, fields in messages]
        if self.settings.envelope != "upsert":
            return found
        return held([body or b"" for body in found], "upsert")

    def _document(self, fields: Mapping[bytes, bytes]) -> bytes:
        """The fields of an entry as an object. Texts that are numbers are numbers where they are declared so."""
        made = []
        for key, value in fields.items():
            if key in OURS:
                continue
            name = key.decode("utf-8", "backslashreplace")
            text = value.decode("utf-8", "backslashreplace")
            bare = name in self._known and name not in self._loose and _is_json(text)
            made.append(f"{json.dumps(name)}: {text if bare else json.dumps(text)}")
        return f"{{{', '.join(made)}}}".encode()

    def keys(self, messages: Sequence[Entry]) -> Sequence[bytes | None]:
        """See MessageTable.keys."""
        return [fields.get(KEY) for _, fields in messages]

    def origins(self, messages: Sequence[Entry]) -> list[str | None]:
        """See MessageTable.origins."""
        return [readable(fields.get(ORIGIN)) for _, fields in messages]

    def place(self, message: Entry) -> str:
        """See MessageTable.place."""
        return f"stream {self.name}, entry {message[0].decode()}"

    def details(self, message: Entry) -> Mapping[str, Any]:
        """See MessageTable.details."""
        return {"stream": self.name, "id": message[0].decode(), "fields": _shown(message)}

    def column(self, name: str, messages: Sequence[Entry]) -> Any:
        """See MessageTable.column."""
        kind = _COLUMNS[name].type
        if name == "_id":
            return pa.array([id.decode() for id, _ in messages], kind)
        if name == "_timestamp":
            return instants([numbers(id.decode())[0] for id, _ in messages], kind)
        if name == "_message_id":
            return pa.array([readable(fields.get(ID)) for _, fields in messages], kind)
        return json_texts([_shown(message) for message in messages])


def whole(document: bytes) -> list[bytes]:
    """The fields of an entry for a row as a JSON object: names and values in turn; null is left out."""
    row = json.loads(document, parse_float=str, parse_int=str)
    made: list[bytes] = []
    for name, value in row.items():
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            made += (name.encode(), text.encode())
    return made


def _shown(message: Entry) -> dict[str, str | None]:
    return {str(readable(name)): readable(value) for name, value in message[1].items()}


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
