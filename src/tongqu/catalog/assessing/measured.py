"""What was seen by calling an interface: times, statuses, limits, TLS, and how answers differ from the document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Called:
    """An operation that was called, once or more. No value that it answered is kept."""

    operation: str
    place: str
    status: int
    """Of the last answer; 0 if none came."""
    seconds: tuple[float, ...] = ()
    described: bool = True
    """Whether the document knows the status."""
    checked: bool = False
    """Whether the answer was compared with its description."""
    deviations: tuple[tuple[str, str], ...] = ()
    """Paths in the answer and what is wrong there: `type`, `missing`, `null`, `choice`."""
    personal: Mapping[str, bool] = field(default_factory=dict)
    """Fields with data about people that were in the answer, and whether all their values were masked."""

    @property
    def shown(self) -> str:
        """For evidence: `GET /orders → 200`."""
        return f"{self.operation} → {self.status or '—'}"


@dataclass(frozen=True)
class Tls:
    """The TLS of the interface's host."""

    place: str
    version: str = ""
    cipher: str = ""
    old: tuple[str, ...] = ()
    """Versions before 1.2 that it accepts."""
    days: int | None = None
    """How long its certificate is valid still."""
    refused: str = ""
    """Why its certificate, or the handshake, is not accepted."""


@dataclass(frozen=True)
class Measured:
    """All that was seen. `open_calls` are operations that answered a call without credentials, `closed_calls` those
    that refused one; both only where the document or the connection asks for credentials."""

    calls: tuple[Called, ...] = ()
    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of answers that say something about safety or limits, in lower case."""
    open_calls: tuple[str, ...] = ()
    closed_calls: tuple[str, ...] = ()

    @property
    def answered(self) -> tuple[Called, ...]:
        """Calls that were answered with success."""
        return tuple(one for one in self.calls if 200 <= one.status < 300)
