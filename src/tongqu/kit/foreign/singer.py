"""Singer's messages: RECORD, SCHEMA, STATE, BATCH, ACTIVATE_VERSION."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tongqu.core.errors import AnswerError, ReadError
from tongqu.kit.foreign.messages import Event, Protocol, Records, Said, Schema, State, member

_KINDS = frozenset({"RECORD", "STATE", "SCHEMA", "BATCH", "ACTIVATE_VERSION", "LOG"})


class Singer(Protocol):
    """Messages of one stream of a tap. Source: the Singer specification 0.3 and the Meltano SDK's BATCH message."""

    def __init__(self, stream: str, name: str, hide: Callable[[str], str] = str, folder: Path | None = None):
        """See Protocol; `folder` is where files of BATCH messages may be."""
        super().__init__(stream, name, hide)
        self._folder = folder

    def plain(self, stream: bytes) -> bytes:
        """See Protocol.plain."""
        return (
            rb'^\{"type": ?"RECORD", ?"stream": ?%b, ?"record": ?(\{.*\})'
            rb'(?:, ?"(?:time_extracted|version)": ?(?:"[^"\\]*"|\d+))*\}$' % stream
        )

    def event(self, message: Mapping[str, Any], line: bytes) -> Event | None:
        """See Protocol.event."""
        kind = message["type"]
        if kind == "STATE":
            return State(message["value"], not _provisional(message["value"]))
        if kind not in _KINDS:
            raise ValueError(kind)
        if message.get("stream") != self.stream:
            return None
        if kind == "RECORD":
            if not isinstance(message["record"], dict):
                raise TypeError("a record is an object")
            return Records(member(line, "record"), 1)
        if kind == "SCHEMA":
            return Schema(dict(message["schema"]), tuple(message.get("key_properties") or ()))
        if kind == "BATCH":
            return self._batch(message)
        return Said(message)

    def _batch(self, message: Mapping[str, Any]) -> Records:
        encoding = message["encoding"]
        if encoding.get("format") != "jsonl" or encoding.get("compression") not in (None, "none", "gzip"):
            raise AnswerError(
                f"{self.name} wrote a batch as {encoding.get('format')} with {encoding.get('compression')}",
                path=self.name,
                hint="set its batch_config to jsonl, with gzip or none",
            )
        parts = []
        for place in message["manifest"]:
            path = Path(unquote(urlsplit(place).path)).resolve()
            if urlsplit(place).scheme not in ("", "file") or not self._folder or not path.is_relative_to(self._folder):
                raise AnswerError(
                    f"{self.name} wrote a batch outside of its folder", path=self.name,
                    hint="leave the batch's storage root out, or set it to file://.",
                )  # fmt: skip
            data = path.read_bytes()
            try:
                data = gzip.decompress(data) if encoding.get("compression") == "gzip" else data
            except (OSError, EOFError) as error:
                raise ReadError(f"{self.name} wrote a damaged batch: {error}", path=self.name) from error
            parts.append(data if data.endswith(b"\n") or not data else data + b"\n")
            path.unlink()
        lines = b"".join(parts)
        return Records(lines, lines.count(b"\n"))


def _provisional(value: Any) -> bool:
    """Whether a state holds the SDK's progress markers: it cannot be gone on from before the stream has ended."""
    if isinstance(value, Mapping):
        return "progress_markers" in value or any(_provisional(one) for one in value.values())
    return isinstance(value, list) and any(_provisional(one) for one in value)
