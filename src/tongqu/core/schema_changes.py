"""What may happen to a schema between two reads, what a sink may do about it, and the table that says which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class SchemaChanges(StrEnum):
    """What a sink does when the schema that arrives is no longer the one it has been given before."""

    EVOLVE = "evolve"
    """The target follows as far as no value is lost; values that it cannot hold go to quarantine with their row."""
    FREEZE = "freeze"
    """The run is refused before a row is written."""
    DISCARD_COLUMN = "discard_column"
    """The target stays as it is; new columns are left out and values that do not fit become null, both counted."""
    DISCARD_ROW = "discard_row"
    """The target stays as it is; rows with a value in a new column, or one that does not fit, go to quarantine."""


class Kind(StrEnum):
    """How a schema changed."""

    NEW = "new"
    DROPPED = "dropped"
    RENAMED = "renamed"
    """Declared by `renamed_from`; a rename that nobody declared is a dropped and a new column."""
    WIDENED = "widened"
    """Every old value is a value of the new type, and some type of the same family holds both."""
    NARROWED = "narrowed"
    """Every new value is a value of the target's type."""
    RETYPED = "retyped"
    """Neither: whether a value fits is seen value by value."""
    KEY = "key"
    OPTIONAL = "optional"
    """Was required and may be null now."""
    REQUIRED = "required"
    """Might be null and is required now."""
    REORDERED = "reordered"


class Outcome(StrEnum):
    """What was done about a change."""

    ADDED = "added"
    RENAMED = "renamed"
    WIDENED = "widened"
    OPTIONAL = "optional"
    """The target's column may be null from now on."""
    REKEYED = "rekeyed"
    """The new generation has the new key."""
    FOLLOWED = "followed"
    """The content is written anew, with exactly what arrives."""
    UNCHANGED = "unchanged"
    """The target takes what arrives as it is."""
    NULL = "null"
    """The target keeps the column: new rows have null in it, rows that are merged keep what they have."""
    LEFT_OUT = "left out"
    """The column is not written; the values given up are counted as `discarded`."""
    BLANKED = "blanked"
    """A value that does not fit becomes null and is counted as `discarded`."""
    QUARANTINED = "quarantined"
    """A row whose value does not fit goes to quarantine; all others are written."""
    REFUSED = "refused"
    """The run is refused before a row is written."""


_E, _F, _C, _R = SchemaChanges


def _row(evolve: Outcome, freeze: Outcome, column: Outcome, row: Outcome) -> dict[SchemaChanges, Outcome]:
    return {_E: evolve, _F: freeze, _C: column, _R: row}


_SAME = _row(Outcome.UNCHANGED, Outcome.UNCHANGED, Outcome.UNCHANGED, Outcome.UNCHANGED)

OUTCOMES: Mapping[Kind, Mapping[SchemaChanges, Outcome]] = {
    Kind.NEW: _row(Outcome.ADDED, Outcome.REFUSED, Outcome.LEFT_OUT, Outcome.QUARANTINED),
    Kind.DROPPED: _row(Outcome.NULL, Outcome.REFUSED, Outcome.NULL, Outcome.NULL),
    Kind.RENAMED: _row(Outcome.RENAMED, Outcome.REFUSED, Outcome.LEFT_OUT, Outcome.QUARANTINED),
    Kind.WIDENED: _row(Outcome.WIDENED, Outcome.REFUSED, Outcome.BLANKED, Outcome.QUARANTINED),
    Kind.NARROWED: _SAME,
    Kind.RETYPED: _row(Outcome.QUARANTINED, Outcome.REFUSED, Outcome.BLANKED, Outcome.QUARANTINED),
    Kind.KEY: _row(Outcome.REKEYED, Outcome.REFUSED, Outcome.REFUSED, Outcome.REFUSED),
    Kind.OPTIONAL: _row(Outcome.OPTIONAL, Outcome.REFUSED, Outcome.QUARANTINED, Outcome.QUARANTINED),
    Kind.REQUIRED: _SAME,
    Kind.REORDERED: _SAME,
}
"""What each mode does about each change. A key can be rekeyed by `replace` only: other write modes are refused."""


@dataclass(frozen=True)
class SchemaChange:
    """One change of one stream's schema. `before` and `after` are types, names or keys, as the kind has it."""

    kind: Kind
    column: str
    outcome: Outcome
    before: str = ""
    after: str = ""

    def to_json(self) -> dict[str, str]:
        """The change as the run document shows it."""
        shown = {"column": self.column, "change": self.kind.value, "outcome": self.outcome.value}
        return shown | {name: text for name, text in (("before", self.before), ("after", self.after)) if text}

    def __str__(self) -> str:
        """The change in words: `column 'v' is widened: integer → bigint`."""
        return f"column {self.column!r} is {self.kind.value}{_arrow(self.before, self.after)}"


def _arrow(before: str, after: str) -> str:
    if before and after:
        return f": {before} → {after}"
    return f": {before or after}" if before or after else ""


@dataclass(frozen=True)
class Known:
    """The schema that a sink accepted when this stream was last written.

    `columns` are names with the texts of their types, in order.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
