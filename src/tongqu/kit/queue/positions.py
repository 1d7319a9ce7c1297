"""Where a reader stands in a queue, and whether that place is still there."""

from __future__ import annotations

from tongqu.core.data import Position
from tongqu.core.errors import CheckpointError, LostPositionError
from tongqu.kit.sqlite import SqliteDb

_REPAIR = "load the datasets in full again (`tongqu sync … --restart`), then follow from there"


def position(db: SqliteDb, after: int) -> Position:
    """The position after a record."""
    id, generation = db.rows("SELECT id, generation FROM queue")[0]
    return {"queue": id, "generation": int(generation), "after": after}


def place(db: SqliteDb, position: Position) -> int:
    """The record that a position is after.

    Raises LostPositionError if it is of another queue, or of records that a damaged tail took away.
    """
    id, generation, last = db.rows("SELECT id, generation, last FROM queue")[0]
    try:
        after, theirs, of = int(position["after"]), int(position["generation"]), str(position["queue"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError("the stored position is none of a queue", hint=_REPAIR) from None
    if of != id:
        raise LostPositionError("the queue is another one than it was: its file was made anew", hint=_REPAIR)
    cuts = db.rows("SELECT after FROM cut WHERE generation > ? ORDER BY generation", (theirs,))
    if any(after > int(cut[0]) for cut in cuts):
        raise LostPositionError(
            f"the records up to {after} were in a tail of the queue that was damaged, and are not there any more",
            hint=_REPAIR,
        )
    if theirs > int(generation) or after > int(last):
        raise LostPositionError(
            f"the queue ends at record {last}, before our position {after}: an older copy of its file was put back",
            hint=_REPAIR,
        )
    return after


def gone(topic: str, after: int, trimmed: int) -> LostPositionError:
    """The error for records that retention dropped before they were read."""
    return LostPositionError(
        f"the records of {topic!r} after {after} were dropped by retention (up to {trimmed})",
        hint=_REPAIR,
        params={"topic": topic, "after": after, "trimmed": trimmed},
    )
