"""What a two-way sync remembers of a record: what was agreed, what was decided against, and what waits for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LEFT = "left"


@dataclass(frozen=True)
class Agreed:
    """A record as it was agreed last, its rows as packed texts. `row` is None for a tombstone, `last` what it stands
    for. `bases`: the sides that were last known to hold another row. `version` counts agreements. `made`: side → fields
    of which it made something else when they were written, with what it made (a text cut, a number rounded).
    `echoes`: sides that changed the record by themselves when they were written, which is still to be agreed on, with
    how many times in a row systems have done so."""

    key: str
    row: str | None
    last: str | None
    bases: Mapping[str, str | None] = field(default_factory=dict)
    version: int = 0
    origin: str = ""
    made: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    echoes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Overruled:
    """A change that the policy decided against."""

    key: str
    side: str
    said: str | None
    agreed: str | None


@dataclass(frozen=True)
class Waiting:
    """A record that waits: `kind` is `conflict` (somebody must choose) or `refused` (a side refused it). `sides` are
    the rows as they stood. `ruling`: what was chosen, as JSON; empty while nobody has."""

    key: str
    kind: str
    sides: Mapping[str, str | None]
    why: str = ""
    id: int = 0
    ruling: str = ""


@dataclass(frozen=True)
class Settlement:
    """All that is remembered in the transaction that closes a batch."""

    agreed: Sequence[Agreed] = ()
    overruled: Sequence[Overruled] = ()
    waiting: Sequence[Waiting] = ()
    settled: Sequence[int] = ()
    """Entries of the queue that are over."""


def left(position: Mapping[str, Any]) -> dict[str, Any]:
    """A position that is not gone on from, but tells which log was read."""
    return dict(position) if LEFT in position else {LEFT: dict(position)}
