"""How much and how long one connection may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """Bounds of every connection, whoever it belongs to; what an API allows its callers is narrower."""

    target_bytes: int = 16_384
    header_bytes: int = 65_536
    headers: int = 100
    body_bytes: int = 64 << 20
    header_seconds: float = 10.0
    """From the first byte of a request to the end of its headers."""
    body_seconds: float = 30.0
    """For a whole body; each 64 KiB that came allow another second."""
    idle_seconds: float = 75.0
    """How long a connection is kept without a request."""
    write_seconds: float = 60.0
    """How long a caller may leave an answer unread."""
    linger_seconds: float = 2.0
    """How long the rest of a refused body is thrown away, so that the caller can read the refusal."""
    drain_seconds: float = 10.0
    """How long requests may run on after the server was told to stop."""
    connections: int = 8_192
    """Open connections of one process; more are closed at once."""
    sweep_seconds: float = 1.0
    """How often connections are looked at."""
