"""The one decision: what an actor may do with an API's rows, and which of them, and which fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sqlglot import exp

    from tongqu.meaning.masks import Mask

Action = Literal["read", "insert", "update", "delete"]


@dataclass(frozen=True)
class Decision:
    """What `Policy.decide` gives for one actor and action.

    `fields` are those the actor may see, in the dataset's order; None as value: as they are. Whoever reads never hears
    of others. `writable` are those it may set. `rows` is the condition that every row it touches must fulfil, over the
    dataset's columns, with placeholders whose values are in `params`; None: all rows. `fingerprint` is equal for two
    decisions only if every answer made under them is equal too. `rules` are the names of the rules that decided,
    `reason` one sentence for the owner.
    """

    allowed: bool
    fields: Mapping[str, Mask | None] = field(default_factory=dict)
    writable: frozenset[str] = frozenset()
    rows: exp.Expr | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    reason: str = ""
    fingerprint: str = ""
    cacheable: bool = True
    """False where a field of class personal or above is shown as it is: then answers are `no-store`."""
    cells: Mapping[str, exp.Expr] = field(default_factory=dict)
    """Fields that are given only in rows for which this holds, and are null in the others: where several rules allow
    different fields of different rows."""
    settable: Mapping[str, exp.Expr] = field(default_factory=dict)
    """Fields of `writable` that may be set only in rows for which this holds."""
    plan: str = ""
    """Digest of everything but the values of `params`: equal plans make equal SQL."""
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Keys of masks by their reference."""


@dataclass(frozen=True)
class Conflict:
    """Two grants that together come to more, or less, than somebody may expect.

    `lifted`: a role that alone reads nothing shows `fields` in the rows that the other gives. `apart`: two rules give
    different fields of different rows; together they show each cell that one of them shows and null in the others.
    """

    kind: Literal["lifted", "apart"]
    first: str
    second: str
    fields: tuple[str, ...]
