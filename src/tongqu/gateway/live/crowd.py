"""How many may follow at the same time, and how much of that one caller may have."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from tongqu.core.policy import Actor
from tongqu.gateway.addresses import block
from tongqu.gateway.live.views import View
from tongqu.gateway.problems import Problem


@dataclass(frozen=True)
class Crowd:
    """How many may subscribe to one process; `views`: different filters and rights; `keys`: rows that are remembered
    for all of them together; `..._of_one`: what one caller may have of them."""

    subscribers: int = 5000
    of_one: int = 2000
    views: int = 1000
    views_of_one: int = 200
    keys: int = 2_000_000
    keys_of_one: int = 400_000

    def room(self, views: MutableMapping[tuple[Any, ...], View], owner: str, keys: int = 0) -> None:
        """Make room for one more view of a caller that remembers so many rows: its own ones that nobody follows any
        more go. Raises Problem `overloaded`."""
        mine = [(place, view) for place, view in views.items() if view.owner == owner]
        idle = sorted((one for one in mine if one[1].subscribers <= 0), key=lambda one: one[1].idle_since)
        over = max(len(mine) - self.views_of_one, len(views) - self.views) + 1
        for place, _ in idle[: max(over, 0)]:
            del views[place]
        if over > len(idle):
            raise Problem("overloaded", "there are too many different subscriptions")
        own = _remembered(view for view in views.values() if view.owner == owner)
        if keys and (_remembered(views.values()) + keys > self.keys or own + keys > self.keys_of_one):
            raise Problem("overloaded", "the subscriptions follow too many rows: filter them")


def owner_of(actor: Actor) -> str:
    """Who a view counts for: the caller, or the network of one that nobody knows."""
    return actor.id if actor.known else f"anonymous@{block(actor.address)}"


def _remembered(views: Iterable[View]) -> int:
    return sum(len(view.known or ()) for view in views)
