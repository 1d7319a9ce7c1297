"""Airbyte's messages: RECORD, STATE, TRACE and what stands around them. Source: the Airbyte protocol, version 0.5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.core.errors import AuthError, ReadError
from tongqu.kit.foreign.messages import Event, Failure, Protocol, Records, Said, State, member

_KINDS = frozenset({"RECORD", "STATE", "TRACE", "LOG", "SPEC", "CATALOG", "CONNECTION_STATUS", "CONTROL"})


class Airbyte(Protocol):
    """Messages of one stream of a source."""

    def plain(self, stream: bytes) -> bytes:
        """See Protocol.plain."""
        return (
            rb'^\{"type": ?"RECORD", ?"record": ?\{(?:"namespace": ?(?:null|"[^"\\]*"), ?)?"stream": ?%b, ?'
            rb'"data": ?(\{.*\}), ?"emitted_at": ?\d+\}\}$' % stream
        )

    def event(self, message: Mapping[str, Any], line: bytes) -> Event | None:
        """See Protocol.event."""
        kind = message["type"]
        if kind not in _KINDS:
            raise ValueError(kind)
        if kind == "RECORD":
            record = message["record"]
            if not isinstance(record["data"], dict):
                raise TypeError("a record is an object")
            return Records(member(line, "record", "data"), 1) if record["stream"] == self.stream else None
        if kind == "STATE":
            return self._state(message["state"])
        if kind == "TRACE" and message["trace"]["type"] == "ERROR":
            return Failure(self.failure(message["trace"]["error"]))
        return Said(message)

    def _state(self, state: Mapping[str, Any]) -> State | None:
        """What the source is to be given back: a list of messages, or what an old one gave."""
        if state.get("type", "LEGACY") == "LEGACY":
            return State(state["data"])
        if state["type"] == "STREAM" and state["stream"]["stream_descriptor"]["name"] != self.stream:
            return None
        return State([{k: v for k, v in state.items() if k not in ("sourceStats", "destinationStats", "id")}])

    def failure(self, error: Mapping[str, Any]) -> AuthError | ReadError:
        """The error that a TRACE tells of; its stack trace stays out."""
        said = dict.fromkeys(str(error[part]) for part in ("message", "internal_message") if error.get(part))
        text = f"{self.name}: {self.hide(' / '.join(said))[:1000] or 'it failed'}"
        if error.get("failure_type") == "config_error":
            return AuthError(text, path=self.name, hint="the source takes it for a mistake of the configuration")
        return ReadError(text, path=self.name, hint="see the source's documentation")
