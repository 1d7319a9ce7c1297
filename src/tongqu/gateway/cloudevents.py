"""CloudEvents 1.0 (https://github.com/cloudevents/spec): a change as an event, in JSON or in headers beside data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tongqu.kit.serving.texts import dumps

STRUCTURED = "application/cloudevents+json; charset=utf-8"
"""The media type of an event in structured mode."""
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


@dataclass(frozen=True)
class CloudEvent:
    """One event. `source` is the API's path, `type` ends with the API's name and what happened, `subject` is the key of
    the row as JSON, `time` is RFC 3339; `data` are plain JSON values."""

    id: str
    source: str
    type: str
    data: Any
    time: str = ""
    subject: str = ""
    trace: str = ""

    @classmethod
    def of(cls, id: str, path: str, data: Mapping[str, Any], time: str = "", trace: str = "") -> CloudEvent:
        """The event of a change: `data` has `op`, and `key` where a row is known."""
        name, op = path.rpartition("/")[2], data["op"]
        subject = dumps(data["key"]).decode() if data.get("key") else ""
        return cls(id, path, f"io.tongqu.{name}.{op}", data, time, subject, trace)

    def attributes(self) -> dict[str, str]:
        """Its context: those attributes that it has."""
        told = {
            "specversion": "1.0", "id": self.id, "source": self.source, "type": self.type, "time": self.time,
            "subject": self.subject, "traceparent": self.trace,
        }  # fmt: skip
        return {name: value for name, value in told.items() if value}

    def structured(self) -> bytes:
        """The whole event as JSON (structured mode)."""
        return dumps({**self.attributes(), "datacontenttype": "application/json", "data": self.data})

    def binary(self) -> tuple[dict[str, str], bytes]:
        """Its context as headers, and its data as the body (binary mode)."""
        headers = {f"ce-{name}": quote(value, safe=_PLAIN) for name, value in self.attributes().items()}
        return {**headers, "Content-Type": "application/json"}, dumps(self.data)
