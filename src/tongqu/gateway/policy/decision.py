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
