"""Rows that a followed table had before one of its columns: the log never told their values, so they come again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tongqu.core.data import Mode, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.core.log import Log
from tongqu.core.schema_changes import Kind, Outcome, SchemaChange, SchemaChanges

if TYPE_CHECKING:
    from tongqu.engine.job import Stream

Fill = Callable[["Stream", Sequence[str], bool], None]
"""Given a stream, the columns of its source that are new, and whether others went at the same time."""


def wants(stream: Stream) -> bool:
    """Whether old rows of the stream get values in new columns: where a database's log is followed, a key says which
    row it is, and the target gets the columns."""
    evolves = stream.schema_changes is SchemaChanges.EVOLVE
    return evolves and stream.mode is Mode.CDC and stream.write is WriteMode.UPSERT


def added(changes: Sequence[SchemaChange]) -> list[str]:
    """The columns that a target got."""
    return [one.column for one in changes if one.kind is Kind.NEW and one.outcome is Outcome.ADDED]


def fill(log: Log, stream: Stream, columns: Sequence[str], warn: Callable[[str], None], *, renamed: bool) -> bool:
    """Have the log bring all rows of a stream's dataset again, in its order, where those that are there may have values
    in these columns; whether it will. The log can not: `warn` is told."""
    name = stream.source_dataset.name
    own = [one for one in columns if one in stream.source_dataset.columns]  # steps may have made the others
    try:
        if not log.filled(name, own or stream.source_dataset.columns, renamed=renamed or own != columns):
            return False
        log.resnapshot(name)
    except InvalidPlanError as error:
        warn(f"{error.message}: rows that were there keep null in {', '.join(columns)} until --reload {name}")
        return False
    return True
