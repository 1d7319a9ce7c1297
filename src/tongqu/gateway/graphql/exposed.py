"""What one caller may see and do of each published API: the ground that its schema is built on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from tongqu.core.policy import Actor
from tongqu.gateway.asking import Ask
from tongqu.gateway.policy.decision import Action, Decision
from tongqu.gateway.publication import Api, Publication, Relation
from tongqu.gateway.related import node_of
from tongqu.gateway.rewrite.views import Seen, View, view_of
from tongqu.gateway.validating import writable


@dataclass(frozen=True)
class Exposed:
    """An API as one caller has it. `relations` are those it can reach."""

    api: Api
    decisions: Mapping[Action, Decision]
    relations: Mapping[str, Relation] = field(default_factory=dict)

    @cached_property
    def view(self) -> View | None:
        """The rows and fields it may read; None: none."""
        return view_of(self.api, self.decisions["read"]) if self.decisions["read"].allowed else None

    @property
    def shown(self) -> Mapping[str, Seen]:
        """The fields that it sees."""
        return self.view.fields if self.view is not None else {}

    def settable(self, *actions: Action) -> dict[str, pa.Field[Any]]:
        """The fields that it may set by these actions; empty where the API or the rules do not allow them."""
        write = self.api.entry.write
        open_to = {"insert": write.insert, "update": write.update, "delete": write.delete, "read": False}
        if not self.api.table or not all(open_to[one] and self.decisions[one].allowed for one in actions):
            return {}
        return writable(self.api, frozenset.intersection(*(self.decisions[one].writable for one in actions)))

    @property
    def deletable(self) -> bool:
        """Whether it may delete rows."""
        return bool(self.api.table) and self.api.entry.write.delete and self.decisions["delete"].allowed


def exposed(publication: Publication, version: str, actor: Actor) -> dict[str, Exposed]:
    """The APIs of a version that are published for GraphQL and open to the caller in any way, by name."""
    found: dict[str, Exposed] = {}
    for (of, name), api in publication.apis.items():
        if of == version and "graphql" in api.entry.protocols:
            actions: tuple[Action, ...] = ("read", "insert", "update", "delete")
            decisions = {action: api.policy.decide(actor, action) for action in actions}
            if any(decision.allowed for decision in decisions.values()):
                found[name] = Exposed(api, decisions, _reachable(api, decisions["read"], actor, publication))
    return {
        name: Exposed(one.api, one.decisions, {key: to for key, to in one.relations.items() if to.api in found})
        for name, one in found.items()
    }


def _reachable(api: Api, decision: Decision, actor: Actor, publication: Publication) -> dict[str, Relation]:
    if not decision.allowed or not api.relations:
        return {}
    node = node_of(api, decision, Ask(), actor=actor, within=publication)
    return {name: relation for name, relation in api.relations.items() if node.find(name) is not None}


def plan_of(apis: Mapping[str, Exposed]) -> tuple[Any, ...]:
    """What a schema depends on: two callers with equal plans have the same schema."""
    return tuple(
        (name, id(one.api), tuple(decision.plan for decision in one.decisions.values()), tuple(one.relations))
        for name, one in apis.items()
    )
