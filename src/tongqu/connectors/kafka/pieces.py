"""The offsets that a position of topics holds."""

from __future__ import annotations

from tongqu.core.data import Position

Offsets = dict[str, dict[int, int]]
"""The offset of the next message, by topic and partition."""


def offsets(position: Position) -> Offsets:
    """The offsets of a position."""
    told = position.get("topics") or {}
    return {topic: {int(p): int(offset) for p, offset in parts.items()} for topic, parts in told.items()}
