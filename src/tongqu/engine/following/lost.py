"""A stream whose table the log has lost: it is paused beside the others, and says how, until its table is read anew.

The loss is stored in the place of the stream's position, behind everything that was written of it. So it holds for
whoever runs the stream next, and the log need not be kept for it.
"""

from __future__ import annotations

from tongqu.core.data import Checkpoint, Position
from tongqu.core.errors import LostPositionError, TongquError
from tongqu.engine.job import Stream

_LOST, _AFTER = "lost", "after"
AGAIN = "again"
"""In the spec of a stream's split: how often its table was read anew."""


def paused(stream: Stream, error: TongquError) -> LostPositionError:
    """What the stream says of its loss, with the repair."""
    return LostPositionError(
        error.message,
        path=stream.name,
        hint="mend what happened to it (`tongqu cdc doctor` looks), then read this table alone anew: "
        f"the same command with --reload {stream.source_dataset.name}",
    )


def marked(position: Position, error: LostPositionError) -> Position:
    """What is stored for a stream that was at a position."""
    return {_LOST: {"message": error.message, "path": error.path, "hint": error.hint}, _AFTER: position}


def stored(position: Position | None) -> LostPositionError | None:
    """The loss that is stored, None if it is a position."""
    told = (position or {}).get(_LOST)
    return LostPositionError(told["message"], path=told["path"], hint=told["hint"]) if told else None


def rejoined(checkpoint: Checkpoint) -> bool:
    """Whether a stream was read anew and has committed nothing of the log since."""
    spec = checkpoint.split.spec
    return bool(spec.get(AGAIN)) and checkpoint.position == spec.get(_AFTER)
