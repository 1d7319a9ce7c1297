"""Quarantined rows after they were set aside: which are meant, how one was mended, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

NEW, FIXED, REPLAYED, STILL_BAD = "new", "fixed", "replayed", "still_bad"
DISCARDED, SUPERSEDED, REPAIRED = "discarded", "superseded", "repaired"
STATES = (NEW, FIXED, REPLAYED, STILL_BAD, DISCARDED, SUPERSEDED, REPAIRED)
"""new → fixed → replayed | still_bad (refused again) | superseded (the target has a newer row of the key); discarded:
given up by a person; repaired: the row went on with a mended cell, and nothing is to do."""
OPEN = (NEW, FIXED, STILL_BAD)
"""States from which a row can be fixed, replayed or discarded."""


@dataclass(frozen=True)
class Dirty:
    """Which quarantined rows are meant; an empty field means any. Newest first, or in the order of their arrival."""

    sync: str = ""
    run: str = ""
    stream: str = ""
    code: str = ""
    field: str = ""
    ids: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    arrival: bool = False
    limit: int = 1000


@dataclass(frozen=True)
class Fix:
    """A row's mended version, stored beside its original, or the decision to give it up.

    `fixed` is the whole row as JSON (None leaves what is there), `history` a JSON list of `{rule, by, at}`.
    """

    id: str
    state: str
    fixed: str | None
    history: str


@dataclass(frozen=True)
class Settled:
    """What became of a row that went in again; committed with the data. A row that was refused again has its new cause
    here."""

    id: str
    state: str
    code: str = ""
    field: str = ""
    value: str | None = None
    message: str = ""
