"""What a reader of topics hands on: batches of messages, and the offsets that a position holds."""

from __future__ import annotations

import numpy as np

from tongqu.core.data import Batch, Position
from tongqu.kit.messages.parsed import Decoded

Offsets = dict[str, dict[int, int]]
"""The offset of the next message, by topic and partition."""


def batches(dataset: str, decoded: Decoded) -> list[Batch]:
    """Rows as batches, cut where the table was emptied; what could not be read is with the last."""
    made: list[Batch] = []
    start = 0
    for at in np.array(decoded.truncates, np.int64):
        if at > start:
            made.append(Batch(dataset, decoded.rows.slice(start, int(at) - start), None))
        made.append(Batch(dataset, decoded.rows.slice(int(at), 0), None, kind="truncate"))
        start = int(at)
    made.append(Batch(dataset, decoded.rows.slice(start), None, bad=decoded.bad))
    return made


def offsets(position: Position) -> Offsets:
    """The offsets of a position."""
    told = position.get("topics") or {}
    return {topic: {int(p): int(offset) for p, offset in parts.items()} for topic, parts in told.items()}
