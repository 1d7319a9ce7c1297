"""A schema registry with Confluent's interface: schemas by id, and ids for the schemas of what we write.

Wire format: a zero byte, the schema's id as four bytes big-endian, then (Protobuf only) the path of the message's
index as zigzag varints, then the value.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

from tongqu.core.errors import AnswerError
from tongqu.kit.http.call import Call, Repeat
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings

MAGIC = 0
_HEAD = struct.Struct(">bI")
_JSON = {"Accept": "application/vnd.schemaregistry.v1+json, application/json", "Content-Type": "application/json"}


@dataclass(frozen=True)
class RegisteredSchema:
    """A schema as the registry has it: `kind` is AVRO, PROTOBUF or JSON, `references` are the texts by name of what it
    imports. The text of PROTOBUF is a FileDescriptorProto in base64 (`format=serialized`), so nothing is compiled."""

    id: int
    kind: str
    text: str
    references: Mapping[str, str] = field(default_factory=dict)


class SchemaRegistry:
    """Thread-safe; keeps what it was told, since a schema never changes under its id."""

    def __init__(self, settings: HttpSettings, folder: Path | None = None):
        self._http = Http(settings, folder=folder)
        self._known: dict[int, RegisteredSchema] = {}
        self._lock = Lock()

    def schema(self, id: int) -> RegisteredSchema:
        """The schema of an id; raises NotFoundError if the registry has none."""
        with self._lock:
            if id not in self._known:
                found = self._ask("GET", f"/schemas/ids/{id}")
                compiled = found.get("schemaType") == "PROTOBUF"
                if compiled:
                    found |= {"schema": self._ask("GET", f"/schemas/ids/{id}?format=serialized")["schema"]}
                self._known[id] = self._registered(id, found, "?format=serialized" if compiled else "")
            return self._known[id]

    def register(self, subject: str, kind: str, text: str) -> int:
        """The id of a schema under a subject (`TOPIC-value`), made if it is not there."""
        with self._lock:
            body = {"schemaType": kind, "schema": text}
            found = self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", body)
            return int(found["id"])

    def subjects(self) -> list[str]:
        """The subjects; tries the address and the login."""
        found = self._ask("GET", "/subjects")
        return [str(one) for one in found]

    def _registered(self, id: int, found: Any, form: str) -> RegisteredSchema:
        references: dict[str, str] = {}
        pending = list(found.get("references") or ())
        while pending:
            one = pending.pop()
            if one["name"] not in references:
                path = f"/subjects/{quote(one['subject'], safe='')}/versions/{one['version']}{form}"
                told = self._ask("GET", path)
                references[one["name"]] = told["schema"]
                pending += told.get("references") or ()
        return RegisteredSchema(id, found.get("schemaType", "AVRO"), found["schema"], references)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        reply = self._http.send(Call(method, self._http.url(path), (), _JSON, content, Repeat.SAFE, keep_seconds=0))
        try:
            return json.loads(reply.content)
        except ValueError as error:
            where = self._http.url("")
            raise AnswerError(f"{where}: no JSON", path=where, hint="is this a schema registry?") from error

    def close(self) -> None:
        """Release connections; may be called twice."""
        self._http.close()


def framed(id: int, body: bytes) -> bytes:
    """A value under a schema's id."""
    return _HEAD.pack(MAGIC, id) + body


def schema_id(value: bytes) -> int | None:
    """The id a value begins with; None if it is not in the wire format."""
    if len(value) < _HEAD.size or value[0] != MAGIC:
        return None
    return int(_HEAD.unpack_from(value)[1])


def body(value: bytes) -> bytes:
    """What follows the id."""
    return value[_HEAD.size :]
