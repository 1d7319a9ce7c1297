"""One caller's sight of one API: what every document is made from, and nothing the caller may not use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from tongqu.core.policy import Actor
from tongqu.gateway.policy.decision import Action, Decision
from tongqu.gateway.publication import Api, Publication
from tongqu.gateway.rewrite.views import Seen, view_of


@dataclass(frozen=True)
class Sight:
    """An API with the caller's decisions. `language` is `zh` or `en`."""

    api: Api
    decisions: Mapping[Action, Decision]
    language: str
    related: Mapping[str, str]
    """The relations that the caller may follow, with the API they lead to."""

    @property
    def fields(self) -> Mapping[str, Seen]:
        """The fields as the caller sees them."""
        return view_of(self.api, self.decisions["read"]).fields

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The key, if rows can be asked for by it."""
        return view_of(self.api, self.decisions["read"]).key

    @property
    def title(self) -> str:
        """Its name for people."""
        titles = self.api.entry.title
        return titles.get("zh" if self.language == "zh" else "en") or next(iter(titles.values()), "") or self.api.name

    def may(self, *actions: Action) -> bool:
        """Whether the API is open to such changes, and the caller too."""
        write = self.api.entry.write
        told = {"insert": write.insert, "update": write.update, "delete": write.delete, "read": True}
        writes = any(action != "read" for action in actions)
        if writes and not self.api.table:
            return False
        return all(told[action] and self.decisions[action].allowed for action in actions)

    def writable(self, *actions: Action) -> frozenset[str]:
        """The fields that may be set in such a change."""
        return frozenset.intersection(*(self.decisions[action].writable for action in actions))

    @property
    def print(self) -> tuple[str, ...]:
        """Differs wherever a document could."""
        return (self.api.path, *(decision.fingerprint for decision in self.decisions.values()), *self.related)


def sights(publication: Publication, version: str, actor: Actor, language: str) -> tuple[Sight, ...]:
    """The APIs of a version that the caller may read, by name."""
    found: dict[str, tuple[Api, dict[Action, Decision]]] = {}
    for (one, name), api in sorted(publication.apis.items()):
        if one == version:
            decisions = {action: api.policy.decide(actor, action) for action in get_args(Action)}
            if decisions["read"].allowed:
                found[name] = (api, decisions)
    made = []
    for api, decisions in found.values():
        related = {
            name: relation.api
            for name, relation in api.relations.items()
            if relation.api in found and _joined(found[relation.api], decisions, relation.on)
        }
        made.append(Sight(api, decisions, language, related))
    return tuple(made)


def _joined(
    other: tuple[Api, Mapping[Action, Decision]], here: Mapping[Action, Decision], on: Mapping[str, str]
) -> bool:
    """Whether the caller sees the fields on both sides as they are."""
    mine, theirs = here["read"].fields, other[1]["read"].fields
    return all(mine.get(one, "") is None and theirs.get(two, "") is None for one, two in on.items())
